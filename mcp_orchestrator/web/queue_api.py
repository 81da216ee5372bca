"""The queue over HTTP: its health, its tasks, submitting, cancelling, trying again."""

from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.queue import NewTask, PriorityName, TaskFilter, TaskPriority, TaskStatus
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.toolsets.queue_views import (
    StatsView,
    TaskList,
    TaskView,
    view_list,
    view_stats,
    view_task,
)
from mcp_orchestrator.web.endpoint import Endpoint, endpoint


class Nothing(BaseModel):
    """No fields."""


class AskTasks(BaseModel):
    """Which tasks are listed."""

    status: TaskStatus | None = None
    task_type: str | None = None
    before: Annotated[str | None, Field(description="`next_before` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class AskTask(BaseModel):
    """One task."""

    task_id: str


class Submit(BaseModel):
    """A task to be queued."""

    task_type: Annotated[str, Field(description="The name of a registered handler.")]
    payload: dict[str, JsonValue] = {}
    priority: PriorityName = "NORMAL"
    delay_seconds: Annotated[float, Field(ge=0)] = 0
    max_retries: Annotated[int | None, Field(ge=0, le=100)] = None
    timeout_seconds: Annotated[float | None, Field(gt=0)] = None
    idempotency_key: str | None = None


def queue_endpoints(workspace: Workspace) -> list[Endpoint]:
    """Return the endpoints."""
    queue = workspace.queue

    async def stats(_: Nothing) -> StatsView:
        return view_stats(await queue.stats())

    async def tasks(asked: AskTasks) -> TaskList:
        wanted = TaskFilter(asked.status, asked.task_type, before=asked.before, limit=asked.limit)
        return view_list(await queue.list_tasks(wanted), asked.limit)

    async def task(asked: AskTask) -> TaskView:
        return view_task(await queue.get_task(asked.task_id))

    async def submit(asked: Submit) -> TaskView:
        workspace.registry.check_task(asked.task_type, asked.payload)
        new = NewTask(
            asked.task_type,
            asked.payload,
            priority=TaskPriority[asked.priority],
            delay=asked.delay_seconds,
            max_retries=asked.max_retries,
            timeout=asked.timeout_seconds,
            idempotency_key=asked.idempotency_key,
        )
        return view_task(await queue.add_task(new))

    async def cancel(asked: AskTask) -> TaskView:
        return view_task(await queue.cancel_task(asked.task_id))

    async def retry(asked: AskTask) -> TaskView:
        return view_task(await queue.dead_letters.retry(asked.task_id))

    return [
        endpoint("GET", "/queue", "Depth and age by priority, workers, what is paused or limited.",
                 toolset="queue", asks=Nothing, answers=StatsView, handle=stats),
        endpoint("GET", "/queue/tasks", "Tasks, newest first.",
                 toolset="queue", asks=AskTasks, answers=TaskList, handle=tasks),
        endpoint("POST", "/queue/tasks", "Queue a task.",
                 toolset="queue", asks=Submit, answers=TaskView, handle=submit),
        endpoint("GET", "/queue/tasks/{task_id}", "One task with its result or error.",
                 toolset="queue", asks=AskTask, answers=TaskView, handle=task),
        endpoint("POST", "/queue/tasks/{task_id}/cancel", "Cancel a task.",
                 toolset="queue", asks=AskTask, answers=TaskView, handle=cancel),
        endpoint("POST", "/queue/tasks/{task_id}/retry", "Try a dead letter again.",
                 toolset="queue", asks=AskTask, answers=TaskView, handle=retry),
    ]  # fmt: skip
