"""Looking at tasks without changing them."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, func, select

from mcp_orchestrator.queue.port import PriorityStats, QueueStats, TaskFilter, alive_since
from mcp_orchestrator.queue.sql.limiting import limit_stats
from mcp_orchestrator.queue.sql.rows import task_from_row, worker_from_row
from mcp_orchestrator.queue.task import BY_URGENCY, Task, TaskPriority, TaskStatus
from mcp_orchestrator.store.schema.tasks import task_pauses, task_workers, tasks


def get(connection: Connection, queue: str, task_id: str) -> Task | None:
    """Return one task."""
    statement = select(tasks).where(tasks.c.queue == queue, tasks.c.task_id == task_id)
    row = (connection.execute(statement)).mappings().one_or_none()
    return None if row is None else task_from_row(row)


def cancel_requested(connection: Connection, task_ids: Collection[str]) -> list[str]:
    """Return which of some running tasks are to stop."""
    statement = select(tasks.c.task_id).where(
        tasks.c.task_id.in_(sorted(task_ids)), tasks.c.cancel_requested.is_(True)
    )
    return list(connection.scalars(statement))


def list_tasks(connection: Connection, queue: str, task_filter: TaskFilter) -> list[Task]:
    """Return tasks, newest first."""
    statement = select(tasks).where(tasks.c.queue == queue)
    if task_filter.status is not None:
        statement = statement.where(tasks.c.status == task_filter.status)
    if task_filter.task_type is not None:
        statement = statement.where(tasks.c.task_type == task_filter.task_type)
    if task_filter.owner is not None:
        statement = statement.where(tasks.c.owner == task_filter.owner)
    if task_filter.before is not None:
        last = select(tasks.c.sequence).where(tasks.c.task_id == task_filter.before)
        statement = statement.where(tasks.c.sequence < last.scalar_subquery())
    statement = statement.order_by(tasks.c.sequence.desc()).limit(task_filter.limit)
    return [task_from_row(row) for row in (connection.execute(statement)).mappings()]


def stats(
    connection: Connection, queue: str, now: datetime, backend: str, lease_seconds: float
) -> QueueStats:
    """Count the tasks by status and the waiting ones by priority."""
    counted = (
        select(
            tasks.c.status,
            tasks.c.priority,
            func.count().label("count"),
            func.min(tasks.c.available_at).label("oldest"),
        )
        .where(tasks.c.queue == queue)
        .group_by(tasks.c.status, tasks.c.priority)
    )
    by_status = dict.fromkeys(TaskStatus, 0)
    by_priority = {priority: PriorityStats(0, None) for priority in BY_URGENCY}
    for row in (connection.execute(counted)).mappings():
        by_status[TaskStatus(row["status"])] += row["count"]
        if row["status"] == TaskStatus.PENDING:
            age = max((now - row["oldest"]).total_seconds(), 0.0)
            by_priority[TaskPriority(row["priority"])] = PriorityStats(row["count"], age)
    since = alive_since(now, lease_seconds)
    workers = (
        select(task_workers)
        .where(task_workers.c.queue == queue, task_workers.c.seen_at >= since)
        .order_by(task_workers.c.worker_id)
    )
    paused = (
        select(task_pauses.c.kind, task_pauses.c.name)
        .where(task_pauses.c.queue == queue)
        .order_by(task_pauses.c.name)
    )
    pauses = list((connection.execute(paused)).mappings())
    return QueueStats(
        backend,
        by_priority,
        by_status,
        tuple(worker_from_row(row) for row in (connection.execute(workers)).mappings()),
        tuple(row["name"] for row in pauses if row["kind"] == "type"),
        tuple(TaskPriority(int(row["name"])) for row in pauses if row["kind"] == "priority"),
        tuple(limit_stats(connection, queue, now)),
    )
