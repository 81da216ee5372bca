"""Handing out: which waiting tasks go to a worker, in one transaction.

Each statement locks what it changes and skips what another transaction has locked (PostgreSQL),
or runs under the one write lock (SQLite), so two workers never take the same task.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, String, cast, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.queue.encoding import encode_event
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.port import TakeRequest
from mcp_orchestrator.queue.sql.rows import task_from_row
from mcp_orchestrator.queue.task import BY_URGENCY, EventKind, TaskEvent, TaskStatus
from mcp_orchestrator.store.schema.tasks import task_pauses, tasks

#: How many lost or due tasks one call brings back; the rest follow with the next.
_SWEEP = 200


async def take(
    connection: AsyncConnection, queue: str, request: TakeRequest, dead_retention: float
) -> list[Delivery]:
    """Lease ready tasks: the fair share first, then strictly by priority and age."""
    await _promote_due(connection, queue, request.now)
    await _recover_lost(connection, queue, request.now, dead_retention)
    rows: list[RowMapping] = []
    for _ in range(request.fair_slots):
        rows += await _lease(
            connection, request, await _oldest_of_lower(connection, queue, request)
        )
    ready = (
        select(tasks.c.sequence)
        .where(*_ready(queue, request.task_types))
        .order_by(tasks.c.priority.desc(), tasks.c.available_at, tasks.c.sequence)
        .limit(request.count - len(rows))
    )
    rows += await _lease(connection, request, ready)
    rows.sort(key=lambda row: (-row["priority"], row["available_at"], row["sequence"]))
    return [Delivery(Lease(row["task_id"], row["epoch"]), task_from_row(row)) for row in rows]


def may_have_work(queue: str, request: TakeRequest, now: datetime) -> Select[Any]:
    """Return a cheap question: would ``take`` find, promote or recover anything?"""
    due = [tasks.c.queue == queue, tasks.c.status == TaskStatus.SCHEDULED]
    return select(
        or_(
            exists().where(*_ready(queue, request.task_types)),
            exists().where(*due, tasks.c.available_at <= now),
            exists().where(tasks.c.queue == queue, tasks.c.lease_until <= now),
        )
    )


def _ready(queue: str, task_types: "Sequence[str] | Any") -> list[ColumnElement[bool]]:
    paused = select(task_pauses.c.name).where(task_pauses.c.queue == queue)
    conditions = [
        tasks.c.queue == queue,
        tasks.c.status == TaskStatus.PENDING,
        tasks.c.task_type.not_in(paused.where(task_pauses.c.kind == "type")),
        cast(tasks.c.priority, String).not_in(paused.where(task_pauses.c.kind == "priority")),
    ]
    if task_types is not None:
        conditions.append(tasks.c.task_type.in_(sorted(task_types)))
    return conditions


async def _oldest_of_lower(
    connection: AsyncConnection, queue: str, request: TakeRequest
) -> Select[Any]:
    """Choose the longest waiting task below the most urgent priority that has any."""
    heads: list[RowMapping] = []
    for priority in BY_URGENCY:
        head = (
            select(tasks.c.sequence, tasks.c.available_at)
            .where(*_ready(queue, request.task_types), tasks.c.priority == int(priority))
            .order_by(tasks.c.available_at, tasks.c.sequence)
            .limit(1)
        )
        heads += (await connection.execute(head)).mappings()
    oldest = min(heads[1:], key=lambda row: (row["available_at"], row["sequence"]), default=None)
    wanted = -1 if oldest is None else oldest["sequence"]
    return select(tasks.c.sequence).where(
        tasks.c.sequence == wanted, tasks.c.status == TaskStatus.PENDING
    )


async def _lease(
    connection: AsyncConnection, request: TakeRequest, chosen: Select[Any]
) -> list[RowMapping]:
    locked = chosen.with_for_update(skip_locked=True).cte("chosen")
    statement = (
        update(tasks)
        .where(tasks.c.sequence.in_(select(locked.c.sequence)))
        .values(
            status=TaskStatus.PROCESSING.value,
            attempt=tasks.c.attempt + 1,
            epoch=tasks.c.epoch + 1,
            worker_id=request.worker_id,
            started_at=request.now,
            lease_until=request.lease_until,
        )
        .returning(tasks)
    )
    return list((await connection.execute(statement)).mappings())


async def _promote_due(connection: AsyncConnection, queue: str, now: datetime) -> None:
    due = (
        select(tasks.c.sequence)
        .where(
            tasks.c.queue == queue,
            tasks.c.status == TaskStatus.SCHEDULED,
            tasks.c.available_at <= now,
        )
        .order_by(tasks.c.available_at)
        .limit(_SWEEP)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    await connection.execute(
        update(tasks)
        .where(tasks.c.sequence.in_(select(due.c.sequence)))
        .values(status=TaskStatus.PENDING.value)
    )


async def _recover_lost(
    connection: AsyncConnection, queue: str, now: datetime, dead_retention: float
) -> None:
    """Put back what workers held that have not renewed their leases."""
    lost = (
        select(tasks)
        .where(tasks.c.queue == queue, tasks.c.lease_until <= now)
        .order_by(tasks.c.lease_until)
        .limit(_SWEEP)
        .with_for_update(skip_locked=True)
    )
    for row in (await connection.execute(lost)).mappings().all():
        await connection.execute(
            update(tasks)
            .where(tasks.c.sequence == row["sequence"])
            .values(**_after_loss(row, now, dead_retention))
        )


def _after_loss(row: RowMapping, now: datetime, dead_retention: float) -> dict[str, Any]:
    error = f"The worker {row['worker_id']} stopped renewing its lease."
    event = TaskEvent(now, EventKind.WORKER_LOST, row["attempt"], row["worker_id"])
    values: dict[str, Any] = {
        "lease_until": None,
        "history": [*row["history"], encode_event(event)],
    }
    if not row["cancel_requested"] and row["attempt"] <= row["max_retries"]:
        return values | {"status": TaskStatus.PENDING.value, "error": error}
    cancelled = row["cancel_requested"]
    return values | {
        "status": (TaskStatus.CANCELLED if cancelled else TaskStatus.DEAD_LETTER).value,
        "error": None if cancelled else error,
        "finished_at": now,
        "expires_at": now + timedelta(seconds=dead_retention),
    }
