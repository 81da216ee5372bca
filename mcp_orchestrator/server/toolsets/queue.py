"""Tools of the task queue: background work that outlives the call."""

from datetime import datetime
from typing import Annotated, Literal

from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue import QueueStats, Task, TaskFilter, TaskPriority, TaskStatus
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.toolsets import signal
from mcp_orchestrator.server.waiting import ASK_AGAIN_AFTER, WaitSeconds

PriorityName = Literal["CRITICAL", "HIGH", "NORMAL", "LOW"]
_ENDED = (
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.DEAD_LETTER,
    TaskStatus.CANCELLED,
)


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
    ended = task.status in _ENDED
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
        next="The task has ended." if ended else again,
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


class StatsView(BaseModel):
    """The queue at one moment."""

    backend: str
    waiting: int
    by_priority: list[PriorityLine]
    by_status: dict[str, int]
    workers: list[WorkerLine]
    paused: list[str]


class Retried(BaseModel):
    """How many dead letters got all their attempts again."""

    retried: int


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
    )


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""
    signal.register(server, runtime)

    @server.tool(
        title="Queue a task",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=False,
        ),
    )
    @teaching
    async def queue_add_task(
        task_type: Annotated[
            str,
            Field(
                description="What to do: the name of a registered handler, such as"
                " `sandbox.execute`. An unknown name is answered with the list."
            ),
        ],
        payload: Annotated[
            dict[str, JsonValue], Field(description="The handler's arguments, as JSON.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        priority: Annotated[PriorityName, Field(description="Who goes first.")] = "NORMAL",
        delay_seconds: Annotated[float, Field(ge=0, description="Start no earlier.")] = 0,
        max_retries: Annotated[int | None, Field(ge=0, le=100)] = None,
        timeout_seconds: Annotated[float | None, Field(gt=0)] = None,
        idempotency_key: Annotated[
            str | None, Field(description="The same key returns the task it made before.")
        ] = None,
    ) -> TaskView:
        """Queue work to be done in the background; it survives disconnects and crashes.

        Returns at once with a task_id; read the outcome with queue_get_task. For several steps
        that must be undone together use saga_start; for a program from a problem, loop_start.
        """
        runtime.registry.check_task(task_type, payload)
        task = await runtime.queue.add_task(
            task_type,
            payload,
            priority=TaskPriority[priority],
            delay=delay_seconds,
            max_retries=max_retries,
            timeout=timeout_seconds,
            idempotency_key=idempotency_key,
        )
        return view_task(task)

    @server.tool(
        title="Look at a task",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    @teaching
    async def queue_get_task(
        task_id: Annotated[str, Field(description="As returned by queue_add_task.")],
        wait_seconds: WaitSeconds = 0,
    ) -> TaskView:
        """Read a queued task's status, result or error; can wait for its end."""
        if wait_seconds > 0:
            return view_task(await runtime.queue.wait_for(task_id, wait_seconds))
        return view_task(await runtime.queue.get_task(task_id))

    @server.tool(
        title="List tasks",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    @teaching
    async def queue_list_tasks(
        status: Annotated[TaskStatus | None, Field(description="Only these.")] = None,
        task_type: Annotated[str | None, Field(description="Only tasks of this type.")] = None,
        before: Annotated[str | None, Field(description="A page's `next_before`.")] = None,
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
    ) -> TaskList:
        """Find queued tasks, newest first; `dead_letter` are those whose retries are used up."""
        wanted = TaskFilter(status=status, task_type=task_type, before=before, limit=limit)
        return view_list(await runtime.queue.list_tasks(wanted), limit)

    @server.tool(
        title="Cancel a task",
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )
    @teaching
    async def queue_cancel_task(
        task_id: Annotated[str, Field(description="As returned by queue_add_task.")],
    ) -> TaskView:
        """Cancel a waiting or running task; one that has ended stays as it is."""
        return view_task(await runtime.queue.cancel_task(task_id))

    @server.tool(
        title="How the queue is doing",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    @teaching
    async def queue_stats() -> StatsView:
        """Count tasks by status and priority, with ages, and show the workers and what they run."""
        return view_stats(await runtime.queue.stats())

    @server.tool(
        title="Try dead letters again",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )
    @teaching
    async def queue_retry_dead(
        task_id: Annotated[str | None, Field(description="One dead letter.")] = None,
        task_type: Annotated[str | None, Field(description="Or all of this type.")] = None,
    ) -> Retried:
        """Give dead letters all their attempts again, once what made them fail is mended."""
        if (task_id is None) == (task_type is None):
            raise InvalidInputError(
                "Give either task_id or task_type.", remedy="queue_list_tasks shows dead letters."
            )
        if task_id is not None:
            await runtime.queue.dead_letters.retry(task_id)
            return Retried(retried=1)
        return Retried(retried=await runtime.queue.dead_letters.retry_all(task_type))
