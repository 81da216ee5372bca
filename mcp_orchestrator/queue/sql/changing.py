"""What a person does to tasks: cancel, requeue, purge, pause."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from mcp_orchestrator.queue.encoding import encode_event, key_after_end
from mcp_orchestrator.queue.limit import TypeLimit
from mcp_orchestrator.queue.task import TaskEvent, TaskStatus
from mcp_orchestrator.store.schema.tasks import task_limits, task_pauses, task_starts, tasks


def cancel(
    connection: Connection, queue: str, task_id: str, event: TaskEvent, expires_at: datetime
) -> None:
    """End a waiting task; mark a running one for its worker to stop; leave an ended one alone."""
    found = connection.execute(
        select(
            tasks.c.sequence,
            tasks.c.status,
            tasks.c.history,
            tasks.c.cancel_requested,
            tasks.c.unique_key,
        )
        .where(tasks.c.queue == queue, tasks.c.task_id == task_id)
        .with_for_update()
    )
    row = found.mappings().one_or_none()
    if row is None or TaskStatus(row["status"]).is_final or row["cancel_requested"]:
        return
    values: dict[str, Any] = {
        "cancel_requested": True,
        "history": [*row["history"], encode_event(event)],
    }
    if row["status"] != TaskStatus.PROCESSING:
        values |= {
            "status": TaskStatus.CANCELLED.value,
            "finished_at": event.at,
            "expires_at": expires_at,
            "unique_key": key_after_end(row["unique_key"]),
        }
    connection.execute(update(tasks).where(tasks.c.sequence == row["sequence"]).values(**values))


def requeue(
    connection: Connection, queue: str, task_id: str, event: TaskEvent, now: datetime
) -> bool:
    """Give a dead letter or failed task all its attempts again."""
    ended = (TaskStatus.DEAD_LETTER, TaskStatus.FAILED)
    found = connection.execute(
        select(tasks.c.sequence, tasks.c.history)
        .where(tasks.c.queue == queue, tasks.c.task_id == task_id, tasks.c.status.in_(ended))
        .with_for_update()
    )
    row = found.mappings().one_or_none()
    if row is None:
        return False
    connection.execute(
        update(tasks)
        .where(tasks.c.sequence == row["sequence"])
        .values(
            status=TaskStatus.PENDING.value,
            attempt=0,
            cancel_requested=False,
            available_at=now,
            finished_at=None,
            expires_at=None,
            history=[*row["history"], encode_event(event)],
        )
    )
    return True


def purge_dead(connection: Connection, queue: str, task_type: str | None) -> int:
    """Forget dead letters, all or those of one type."""
    statement = delete(tasks).where(
        tasks.c.queue == queue, tasks.c.status == TaskStatus.DEAD_LETTER
    )
    if task_type is not None:
        statement = statement.where(tasks.c.task_type == task_type)
    return (connection.execute(statement)).rowcount


def limit_type(connection: Connection, queue: str, task_type: str, limit: TypeLimit) -> None:
    """Bound how many tasks of a type run at once and start in a span."""
    of_type = (task_limits.c.queue == queue, task_limits.c.task_type == task_type)
    connection.execute(delete(task_limits).where(*of_type))
    if limit.rate is None:
        started = (task_starts.c.queue == queue, task_starts.c.task_type == task_type)
        connection.execute(delete(task_starts).where(*started))
    if not limit.is_unbounded:
        row = {
            "queue": queue,
            "task_type": task_type,
            "concurrency": limit.concurrency,
            "starts": limit.rate and limit.rate.starts,
            "span_seconds": limit.rate and limit.rate.seconds,
        }
        connection.execute(insert(task_limits), row)


def set_paused(connection: Connection, queue: str, kind: str, name: str, *, paused: bool) -> None:
    """Stop or go on handing out one type or one priority."""
    row = {"queue": queue, "kind": kind, "name": name}
    conditions = [task_pauses.c[column] == value for column, value in row.items()]
    connection.execute(delete(task_pauses).where(*conditions))
    if paused:
        connection.execute(insert(task_pauses), row)
