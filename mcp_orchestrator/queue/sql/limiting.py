"""Handing out where some types may only run so many at once, over all workers.

The rows of the limits are locked while tasks are chosen, so that two takers (PostgreSQL) never
count the same room.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.queue.port import TakeRequest
from mcp_orchestrator.queue.task import TaskStatus
from mcp_orchestrator.store.schema.tasks import task_limits, tasks


async def choose(
    connection: AsyncConnection,
    queue: str,
    request: TakeRequest,
    ready: Sequence[ColumnElement[bool]],
) -> list[int]:
    """Return the sequences of the tasks to lease: by urgency, the fair share by age."""
    rooms = await _rooms(connection, queue)
    wanted = [tasks.c.task_type.not_in(list(rooms)), *(tasks.c.task_type == one for one in rooms)]
    sizes = [request.count, *rooms.values()]
    rows: list[RowMapping] = []
    for condition, size in zip(wanted, sizes, strict=True):
        if size > 0:
            found = (
                select(tasks.c.sequence, tasks.c.priority, tasks.c.available_at)
                .where(*ready, condition, tasks.c.priority >= int(request.least_priority))
                .limit(min(size, request.count))
            )
            urgent = found.order_by(tasks.c.priority.desc(), tasks.c.available_at, tasks.c.sequence)
            rows += (await connection.execute(urgent, {"b_queue": queue})).mappings()
    rows.sort(key=lambda row: (-row["priority"], row["available_at"], row["sequence"]))
    lower = [row for row in rows if row["priority"] < rows[0]["priority"]]
    lower.sort(key=_age)
    fair = [row["sequence"] for row in lower[: request.fair_slots]]
    rest = [row["sequence"] for row in rows if row["sequence"] not in fair]
    return [*fair, *rest][: request.count]


def _age(row: RowMapping) -> tuple[Any, int]:
    return row["available_at"], row["sequence"]


async def _rooms(connection: AsyncConnection, queue: str) -> dict[str, int]:
    """Return for each limited type how many more may run."""
    limits = (
        select(task_limits.c.task_type, task_limits.c.concurrency)
        .where(task_limits.c.queue == queue)
        .order_by(task_limits.c.task_type)
        .with_for_update()
    )
    rooms = {
        row["task_type"]: row["concurrency"]
        for row in (await connection.execute(limits)).mappings()
    }
    running = (
        select(tasks.c.task_type, func.count().label("running"))
        .where(tasks.c.queue == queue, tasks.c.status == TaskStatus.PROCESSING.value)
        .where(tasks.c.task_type.in_(list(rooms)))
        .group_by(tasks.c.task_type)
    )
    for row in (await connection.execute(running)).mappings():
        rooms[row["task_type"]] -= row["running"]
    return rooms
