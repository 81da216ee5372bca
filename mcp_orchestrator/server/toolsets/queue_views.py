"""How the queue and its tasks are shown to a client."""

from datetime import datetime

from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.queue import LimitStats, PriorityName, QueueStats, Task, TaskStatus
from mcp_orchestrator.server.waiting import ASK_AGAIN_AFTER


class TaskView(BaseModel):
    """A queued task as a client sees it."""

    task_id: str
    task_type: str
    status: TaskStatus
    priority: PriorityName
    attempt: int
    created_at: datetime
    finished_at: datetime | None
    result: JsonValue = None
    error: str | None
    resource: str = Field(description="Where the whole task can be read.")
    next: str = Field(description="What to do now.")


def view_task(task: Task) -> TaskView:
    """Show a task to a client."""
    again = f"Call queue_get_task with this task_id again in {ASK_AGAIN_AFTER:.0f} s."
    return TaskView(
        task_id=task.task_id,
        task_type=task.task_type,
        status=task.status,
        priority=task.priority.name,
        attempt=task.attempt,
        created_at=task.created_at,
        finished_at=task.finished_at,
        result=task.result,
        error=task.error,
        resource=f"task://{task.task_id}",
        next="The task has ended." if task.status.is_final else again,
    )


class TaskLine(BaseModel):
    """One task in a list."""

    task_id: str
    task_type: str
    status: TaskStatus
    priority: PriorityName
    attempt: int
    created_at: datetime
    error: str | None


class TaskList(BaseModel):
    """A page of tasks, newest first."""

    tasks: list[TaskLine]
    next_before: str | None = Field(description="Pass it as `before` for the next page.")


class PriorityLine(BaseModel):
    """The waiting tasks of one priority."""

    priority: PriorityName
    waiting: int
    oldest_age_seconds: float | None


class WorkerLine(BaseModel):
    """A live worker and what it runs."""

    worker_id: str
    host: str
    process_id: int
    concurrency: int
    running: list[str]


class LimitLine(BaseModel):
    """A limited type: its bounds, and how it stands against them."""

    task_type: str
    concurrency: int | None
    running: int
    starts: int | None
    per_seconds: float | None
    started: int


class StatsView(BaseModel):
    """The queue at one moment."""

    backend: str
    waiting: int
    by_priority: list[PriorityLine]
    by_status: dict[str, int]
    workers: list[WorkerLine]
    paused: list[str]
    limits: list[LimitLine]


def view_list(tasks: list[Task], limit: int) -> TaskList:
    """Show a page of tasks to a client."""
    lines = [
        TaskLine(
            task_id=task.task_id,
            task_type=task.task_type,
            status=task.status,
            priority=task.priority.name,
            attempt=task.attempt,
            created_at=task.created_at,
            error=task.error,
        )
        for task in tasks
    ]
    return TaskList(tasks=lines, next_before=tasks[-1].task_id if len(tasks) == limit else None)


def view_stats(stats: QueueStats) -> StatsView:
    """Show the queue's counts to a client."""
    return StatsView(
        backend=stats.backend,
        waiting=stats.waiting,
        by_priority=[
            PriorityLine(
                priority=priority.name, waiting=one.waiting, oldest_age_seconds=one.oldest_age
            )
            for priority, one in sorted(stats.by_priority.items(), reverse=True)
        ],
        by_status={status.value: count for status, count in stats.by_status.items()},
        workers=[
            WorkerLine(
                worker_id=worker.worker_id,
                host=worker.host,
                process_id=worker.process_id,
                concurrency=worker.concurrency,
                running=list(worker.running),
            )
            for worker in stats.workers
        ],
        paused=[*stats.paused_types, *(priority.name for priority in stats.paused_priorities)],
        limits=[_view_limit(one) for one in stats.limits],
    )


def _view_limit(one: LimitStats) -> LimitLine:
    rate = one.limit.rate
    return LimitLine(
        task_type=one.task_type,
        concurrency=one.limit.concurrency,
        running=one.running,
        starts=rate and rate.starts,
        per_seconds=rate and rate.seconds,
        started=one.started,
    )
