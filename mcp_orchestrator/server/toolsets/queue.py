"""Tools of the task queue: background work that outlives the call."""

from datetime import datetime
from typing import Annotated, Literal

from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.queue import Task, TaskPriority, TaskStatus
from mcp_orchestrator.runtime import Runtime
from mcp_orchestrator.server.teaching import teaching
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


def register(server: MCPServer[None], runtime: Runtime) -> None:
    """Add the tools to a server."""

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
