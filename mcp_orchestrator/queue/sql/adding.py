"""Storing new tasks, once for each idempotency key."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from mcp_orchestrator.queue.port import NewEntry, queue_full
from mcp_orchestrator.queue.sql.rows import row_from_entry, task_from_row
from mcp_orchestrator.queue.task import Task, TaskStatus
from mcp_orchestrator.store.schema.tasks import tasks


def add_tasks(
    connection: Connection, queue: str, new: Sequence[NewEntry], max_length: int | None
) -> list[Task]:
    """Insert tasks and return them, or those that already hold their idempotency keys."""
    if max_length is not None:
        _check_length(connection, queue, len(new), max_length)
    added: list[Task] = []
    for has_key, run in groupby(new, lambda one: one.task.idempotency_key is not None):
        entries = list(run)  # in runs, so that the order of the rows is that of the tasks
        if has_key:
            added += [_add_unique(connection, queue, one) for one in entries]
        else:
            connection.execute(insert(tasks), [row_from_entry(one, queue) for one in entries])
            added += [one.task for one in entries]
    return added


def _add_unique(connection: Connection, queue: str, entry: NewEntry) -> Task:
    row = row_from_entry(entry, queue)
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement: Any = dialect.insert(tasks).on_conflict_do_nothing(
        index_elements=["queue", "unique_key"]
    )
    if (connection.execute(statement, row)).rowcount == 1:
        return entry.task
    held = select(tasks).where(tasks.c.queue == queue, tasks.c.unique_key == row["unique_key"])
    return task_from_row((connection.execute(held)).mappings().one())


def _check_length(connection: Connection, queue: str, adding: int, max_length: int) -> None:
    waiting = (TaskStatus.PENDING, TaskStatus.SCHEDULED)
    count = select(func.count()).where(tasks.c.queue == queue, tasks.c.status.in_(waiting))
    if (connection.scalar(count) or 0) + adding > max_length:
        raise queue_full(max_length)
