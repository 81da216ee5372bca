"""Handing out: which waiting tasks go to a worker, in one transaction.

Each statement locks what it changes and skips what another transaction has locked (PostgreSQL),
or runs under the one write lock (SQLite), so two workers never take the same task. Statements are
built once for each set of types, because building costs more than running.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    RowMapping,
    Select,
    String,
    bindparam,
    case,
    cast,
    exists,
    select,
    union_all,
    update,
)

from mcp_orchestrator.queue.encoding import encode_event, key_after_end
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.port import TakeRequest
from mcp_orchestrator.queue.sql import limiting
from mcp_orchestrator.queue.sql.rows import task_from_row
from mcp_orchestrator.queue.task import BY_URGENCY, EventKind, TaskEvent, TaskStatus
from mcp_orchestrator.store.columns import UtcDateTime
from mcp_orchestrator.store.schema.tasks import task_limits, task_pauses, tasks

#: How many lost or due tasks one call brings back; the rest follow with the next.
_SWEEP = 200

_QUEUE = tasks.c.queue == bindparam("b_queue")
_NOW = bindparam("b_now", type_=UtcDateTime())
_COUNT = bindparam("b_count", type_=Integer())
_IS_DUE = (_QUEUE, tasks.c.status == TaskStatus.SCHEDULED.value, tasks.c.available_at <= _NOW)
_IS_LOST = (_QUEUE, tasks.c.lease_until <= _NOW)
_OVERDUE = select(
    exists().where(*_IS_DUE).label("due"),
    exists().where(*_IS_LOST).label("lost"),
    exists().where(task_limits.c.queue == bindparam("b_queue")).label("limited"),
)
_LOST = (
    select(tasks)
    .where(*_IS_LOST)
    .order_by(tasks.c.lease_until)
    .limit(_SWEEP)
    .with_for_update(skip_locked=True)
)
_due = (
    select(tasks.c.sequence)
    .where(*_IS_DUE)
    .order_by(tasks.c.available_at)
    .limit(_SWEEP)
    .with_for_update(skip_locked=True)
    .cte("due")
)
_PROMOTE = (
    update(tasks)
    .where(tasks.c.sequence.in_(select(_due.c.sequence)))
    .values(status=TaskStatus.PENDING.value)
)


def take(
    connection: Connection,
    queue: str,
    request: TakeRequest,
    dead_retention: float,
    *,
    recover: bool,
) -> list[Delivery]:
    """Lease ready tasks: the fair share first, then strictly by priority and age.

    Args:
        connection: in a write transaction.
        queue: the queue's name.
        request: what the worker wishes.
        dead_retention: how long tasks that end here are kept, in seconds.
        recover: whether workers that have not renewed may be called dead.
    """
    overdue = connection.execute(_OVERDUE, {"b_queue": queue, "b_now": request.now})
    due, lost, limited = overdue.one()
    if due:
        connection.execute(_PROMOTE, {"b_queue": queue, "b_now": request.now})
    if lost and recover:
        _recover_lost(connection, queue, request.now, dead_retention)
    types = _key(request.task_types)
    rows: list[RowMapping] = []
    chosen: list[int] = []
    rated: Collection[str] = ()
    if limited:
        chosen, rated = limiting.choose(connection, queue, request, _ready(types))
    elif request.fair_slots:
        share = {"b_queue": queue, "b_count": request.fair_slots}
        chosen = list(connection.scalars(_oldest_of_lower(types), share))
    if chosen:
        rows += _lease(connection, queue, request, _among(), {"b_chosen": chosen})
    if not limited and len(rows) < request.count:
        room = {"b_count": request.count - len(rows), "b_least": int(request.least_priority)}
        rows += _lease(connection, queue, request, _most_urgent(types), room)
    if rated:
        limiting.record_starts(connection, queue, rows, rated)
    rows.sort(key=lambda row: (-row["priority"], row["available_at"], row["sequence"]))
    return [Delivery(Lease(row["task_id"], row["epoch"]), task_from_row(row)) for row in rows]


def may_have_work(connection: Connection, queue: str, request: TakeRequest, now: datetime) -> bool:
    """Answer cheaply: would ``take`` find, promote or recover anything?"""
    question = _question(_key(request.task_types))
    row = (connection.execute(question, {"b_queue": queue, "b_now": now})).one()
    return any(row)


def _key(task_types: Collection[str] | None) -> tuple[str, ...] | None:
    return None if task_types is None else tuple(sorted(task_types))


def _ready(types: tuple[str, ...] | None) -> Sequence[ColumnElement[bool]]:
    paused = select(task_pauses.c.name).where(task_pauses.c.queue == bindparam("b_queue"))
    conditions = [
        _QUEUE,
        tasks.c.status == TaskStatus.PENDING.value,
        tasks.c.task_type.not_in(paused.where(task_pauses.c.kind == "type")),
        cast(tasks.c.priority, String).not_in(paused.where(task_pauses.c.kind == "priority")),
    ]
    return conditions if types is None else [*conditions, tasks.c.task_type.in_(types)]


@lru_cache(maxsize=64)
def _question(types: tuple[str, ...] | None) -> Any:
    return select(
        exists().where(*_ready(types)).label("ready"),
        exists().where(*_IS_DUE).label("due"),
        exists().where(*_IS_LOST).label("lost"),
    )


@lru_cache(maxsize=64)
def _most_urgent(types: tuple[str, ...] | None) -> Any:
    chosen = (
        select(tasks.c.sequence)
        .where(*_ready(types), tasks.c.priority >= bindparam("b_least"))
        .order_by(tasks.c.priority.desc(), tasks.c.available_at, tasks.c.sequence)
        .limit(bindparam("b_count"))
    )
    return _leasing(chosen)


@lru_cache(maxsize=1)
def _among() -> Any:
    chosen = select(tasks.c.sequence).where(
        tasks.c.sequence.in_(bindparam("b_chosen", expanding=True)),
        tasks.c.status == TaskStatus.PENDING.value,
    )
    return _leasing(chosen)


@lru_cache(maxsize=64)
def _oldest_of_lower(types: tuple[str, ...] | None) -> Select[Any]:
    """Choose the longest waiting tasks below the most urgent priority that has any."""
    highest = (
        select(tasks.c.priority)
        .where(*_ready(types))
        .order_by(tasks.c.priority.desc())
        .limit(1)
        .scalar_subquery()
    )
    heads = [
        select(
            select(tasks.c.sequence, tasks.c.available_at)
            .where(*_ready(types), tasks.c.priority == int(priority))
            .order_by(tasks.c.available_at, tasks.c.sequence)
            # in the limit, for as a condition SQLite would ask it of every waiting task
            .limit(case((highest > int(priority), _COUNT), else_=0))
            .subquery()
        )
        for priority in BY_URGENCY[1:]
    ]
    waiting = union_all(*heads).subquery()
    return (
        select(waiting.c.sequence)
        .order_by(waiting.c.available_at, waiting.c.sequence)
        .limit(bindparam("b_count"))
    )


def _leasing(chosen: Select[Any]) -> Any:
    locked = chosen.with_for_update(skip_locked=True).cte("chosen")
    return (
        update(tasks)
        .where(tasks.c.sequence.in_(select(locked.c.sequence)))
        .values(
            status=TaskStatus.PROCESSING.value,
            attempt=tasks.c.attempt + 1,
            epoch=tasks.c.epoch + 1,
            worker_id=bindparam("b_worker_id"),
            started_at=_NOW,
            lease_until=bindparam("b_lease_until", type_=UtcDateTime()),
        )
        .returning(tasks)
    )


def _lease(
    connection: Connection,
    queue: str,
    request: TakeRequest,
    statement: Any,
    parameters: dict[str, Any],
) -> list[RowMapping]:
    values = parameters | {
        "b_queue": queue,
        "b_now": request.now,
        "b_worker_id": request.worker_id,
        "b_lease_until": request.lease_until,
    }
    return list((connection.execute(statement, values)).mappings())


def _recover_lost(connection: Connection, queue: str, now: datetime, dead_retention: float) -> None:
    """Put back what workers held that have not renewed their leases."""
    found = connection.execute(_LOST, {"b_queue": queue, "b_now": now})
    for row in found.mappings().all():
        connection.execute(
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
        "unique_key": key_after_end(row["unique_key"]),
    }
