"""Handing out where some types may only run so often, over all workers.

The rows of the limits are locked while tasks are chosen, so that two takers (PostgreSQL) never
count the same room.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    delete,
    func,
    insert,
    select,
)

from mcp_orchestrator.queue.limit import LimitStats, Rate, TypeLimit
from mcp_orchestrator.queue.port import TakeRequest
from mcp_orchestrator.queue.task import TaskStatus
from mcp_orchestrator.store.schema.tasks import task_limits, task_starts, tasks

_LIMITS = (
    select(task_limits)
    .where(task_limits.c.queue == bindparam("b_queue"))
    .order_by(task_limits.c.task_type)
)


def choose(
    connection: Connection,
    queue: str,
    request: TakeRequest,
    ready: Sequence[ColumnElement[bool]],
) -> tuple[list[int], Collection[str]]:
    """Return the sequences of the tasks to lease, and the types whose starts are counted.

    They are in order of urgency, after the fair share by age.
    """
    limits = _read(connection, queue, lock=True)
    rated = {name: limit.rate for name, limit in limits.items() if limit.rate is not None}
    _forget_starts(connection, queue, rated, request.now)
    rooms = {one.task_type: _room(one) for one in _count(connection, queue, limits, request.now)}
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
            rows += (connection.execute(urgent, {"b_queue": queue})).mappings()
    return _by_urgency(rows, request), rated.keys()


def record_starts(
    connection: Connection, queue: str, rows: Iterable[RowMapping], rated: Collection[str]
) -> None:
    """Remember which of the tasks just leased are of a type with a rate."""
    starts = [
        {
            "task_id": row["task_id"],
            "epoch": row["epoch"],
            "queue": queue,
            "task_type": row["task_type"],
            "started_at": row["started_at"],
        }
        for row in rows
        if row["task_type"] in rated
    ]
    if starts:
        connection.execute(insert(task_starts), starts)


def limit_stats(connection: Connection, queue: str, now: datetime) -> list[LimitStats]:
    """Return how each limited type stands."""
    limits = _read(connection, queue, lock=False)
    return _count(connection, queue, limits, now)


def _by_urgency(rows: list[RowMapping], request: TakeRequest) -> list[int]:
    rows.sort(key=lambda row: (-row["priority"], row["available_at"], row["sequence"]))
    lower = [row for row in rows if row["priority"] < rows[0]["priority"]]
    lower.sort(key=_age)
    fair = [row["sequence"] for row in lower[: request.fair_slots]]
    rest = [row["sequence"] for row in rows if row["sequence"] not in fair]
    return [*fair, *rest][: request.count]


def _age(row: RowMapping) -> tuple[Any, int]:
    return row["available_at"], row["sequence"]


def _read(connection: Connection, queue: str, *, lock: bool) -> dict[str, TypeLimit]:
    statement = _LIMITS.with_for_update() if lock else _LIMITS
    found = connection.execute(statement, {"b_queue": queue})
    return {row["task_type"]: _limit(row) for row in found.mappings()}


def _limit(row: RowMapping) -> TypeLimit:
    starts = row["starts"]
    return TypeLimit(
        row["concurrency"], None if starts is None else Rate(starts, row["span_seconds"])
    )


def _since(rate: Rate, now: datetime) -> datetime:
    return now - timedelta(seconds=rate.seconds)


def _forget_starts(
    connection: Connection, queue: str, rated: Mapping[str, Rate], now: datetime
) -> None:
    for name, rate in rated.items():
        old = task_starts.c.started_at <= _since(rate, now)
        of_type = (task_starts.c.queue == queue, task_starts.c.task_type == name)
        connection.execute(delete(task_starts).where(*of_type, old))


def _count(
    connection: Connection, queue: str, limits: Mapping[str, TypeLimit], now: datetime
) -> list[LimitStats]:
    """Return for each limited type how many run and how many were started lately."""
    statement = (
        select(tasks.c.task_type, func.count().label("running"))
        .where(tasks.c.queue == queue, tasks.c.status == TaskStatus.PROCESSING.value)
        .where(tasks.c.task_type.in_(list(limits)))
        .group_by(tasks.c.task_type)
    )
    found = (connection.execute(statement)).mappings()
    running: dict[str, int] = {row["task_type"]: row["running"] for row in found}
    started: dict[str, int] = {}
    for name, limit in limits.items():
        if limit.rate is not None:
            lately = select(func.count()).where(
                task_starts.c.queue == queue,
                task_starts.c.task_type == name,
                task_starts.c.started_at > _since(limit.rate, now),
            )
            started[name] = connection.scalar(lately) or 0
    return [
        LimitStats(name, limit, running.get(name, 0), started.get(name, 0))
        for name, limit in limits.items()
    ]


def _room(one: LimitStats) -> int:
    """Return how many more of a type may start now; it has at least one bound."""
    rooms: list[int] = []
    if one.limit.concurrency is not None:
        rooms.append(one.limit.concurrency - one.running)
    if one.limit.rate is not None:
        rooms.append(one.limit.rate.starts - one.started)
    return min(rooms)
