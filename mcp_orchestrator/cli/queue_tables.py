"""How the queue's numbers and tasks look in a terminal."""

import json
from collections.abc import Iterator
from datetime import datetime

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mcp_orchestrator.queue import LimitStats, QueueStats, Task, TaskStatus


def stats_table(stats: QueueStats) -> Table:
    """Show depth and age by priority, counts by status, workers, pauses and limits."""
    table = Table(title=f"queue on {stats.backend}", title_justify="left")
    for heading in ("", "count", "oldest, s", "detail"):
        table.add_column(heading)
    for priority, one in sorted(stats.by_priority.items(), reverse=True):
        age = "" if one.oldest_age is None else f"{one.oldest_age:.1f}"
        paused = "paused" if priority in stats.paused_priorities else ""
        table.add_row(f"waiting {priority.name}", str(one.waiting), age, paused)
    for status, count in stats.by_status.items():
        table.add_row(status.value, str(count), "", "")
    for worker in stats.workers:
        running = f"{len(worker.running)} of {worker.concurrency}"
        table.add_row(f"worker {worker.worker_id}", running, "", ", ".join(worker.running))
    for task_type in stats.paused_types:
        table.add_row(f"type {task_type}", "", "", "paused")
    for one in stats.limits:
        table.add_row(f"type {one.task_type}", "", "", _limit_text(one))
    return table


def task_table(tasks: list[Task]) -> Table:
    """Show tasks, a line each."""
    table = Table()
    for heading in ("task", "type", "status", "priority", "attempt", "created", "error"):
        table.add_column(heading, overflow="fold")
    for task in tasks:
        table.add_row(
            task.task_id,
            task.task_type,
            task.status.value,
            task.priority.name,
            str(task.attempt),
            _moment(task.created_at),
            task.error or "",
        )
    return table


def task_details(task: Task) -> Group:
    """Show all that is known of one task; what it does not have is left out."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(task):
        if value:
            facts.add_row(name, Text(value))
    if not task.history:
        return Group(facts)
    history = Table(title="history", title_justify="left")
    for heading in ("when", "what", "attempt", "worker", "detail"):
        history.add_column(heading, overflow="fold")
    for event in task.history:
        detail = Text(event.detail or "")
        history.add_row(
            _moment(event.at), event.kind.value, str(event.attempt), event.worker_id, detail
        )
    return Group(facts, history)


def _facts(task: Task) -> Iterator[tuple[str, str | None]]:
    yield "task", task.task_id
    yield "type", task.task_type
    yield "status", task.status.value
    yield "priority", f"{task.priority.name}{', preemptible' if task.preemptible else ''}"
    yield "attempt", f"{task.attempt}, {task.max_retries} retries allowed"
    yield "time-out", f"{task.timeout:g} s" if task.timeout else None
    yield "idempotency key", task.idempotency_key
    yield "owner", task.owner
    yield "created", _moment(task.created_at)
    yield "available", _moment(task.available_at)
    yield "started", task.started_at and _moment(task.started_at)
    yield "finished", task.finished_at and _moment(task.finished_at)
    yield "worker", task.worker_id
    yield "cancellation", "asked for" if task.cancel_requested else None
    yield "progress", task.progress and task.progress.message
    yield "payload", json.dumps(task.payload, ensure_ascii=False, indent=2)
    if task.status is TaskStatus.COMPLETED:
        yield "result", json.dumps(task.result, ensure_ascii=False, indent=2)
    yield "error", task.error


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _limit_text(one: LimitStats) -> str:
    bounds: list[str] = []
    if one.limit.concurrency is not None:
        bounds.append(f"{one.running} of {one.limit.concurrency} running")
    if (rate := one.limit.rate) is not None:
        bounds.append(f"{one.started} of {rate.starts} started in {rate.seconds:g} s")
    return ", ".join(bounds)
