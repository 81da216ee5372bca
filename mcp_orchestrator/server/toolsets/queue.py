"""Tools of the task queue: background work that outlives the call."""

from datetime import datetime
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Elicit, Resolve
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue import NewTask, PriorityName, TaskFilter, TaskPriority, TaskStatus
from mcp_orchestrator.server.confirming import Confirmation, Consent, consent
from mcp_orchestrator.server.hints import ADDS, READS, REPLACES, SETS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.toolsets import queue_control, schedule, signal
from mcp_orchestrator.server.toolsets.queue_views import (
    StatsView,
    TaskList,
    TaskView,
    view_list,
    view_stats,
    view_task,
)
from mcp_orchestrator.server.waiting import ToolContext, WaitSeconds


class Retried(BaseModel):
    """How many dead letters got all their attempts again."""

    retried: int


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""
    signal.register(server, runtime)
    schedule.register(server, runtime)
    queue_control.register(server, runtime)

    @server.tool(title="Queue a task", annotations=ADDS)
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
        run_at: Annotated[
            datetime | None, Field(description="Or a moment, with its time zone.")
        ] = None,
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
        new = NewTask(
            task_type,
            payload,
            priority=TaskPriority[priority],
            delay=delay_seconds,
            run_at=run_at,
            max_retries=max_retries,
            timeout=timeout_seconds,
            idempotency_key=idempotency_key,
        )
        return view_task(await runtime.queue.add_task(new))

    @server.tool(title="Look at a task", annotations=READS)
    @teaching
    async def queue_get_task(
        task_id: Annotated[str, Field(description="As returned by queue_add_task.")],
        wait_seconds: WaitSeconds = 0,
    ) -> TaskView:
        """Read a queued task's status, result or error; can wait for its end."""
        if wait_seconds > 0:
            return view_task(await runtime.queue.wait_for(task_id, wait_seconds))
        return view_task(await runtime.queue.get_task(task_id))

    @server.tool(title="List tasks", annotations=READS)
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

    @teaching
    async def agree_to_cancel(
        task_id: str, confirmation: str | None, context: ToolContext
    ) -> Elicit[Consent] | Consent:
        task = await runtime.queue.get_task(task_id)
        stands = f"task {task_id} ({task.task_type}, {task.status})"
        effect = None if task.status.is_final else f"This cancels {stands}; its work is lost."
        return await consent(
            runtime, context, "queue_cancel_task", {"task_id": task_id},
            effect=effect, confirmation=confirmation,
        )  # fmt: skip

    @server.tool(title="Cancel a task", annotations=REPLACES)
    @teaching
    async def queue_cancel_task(
        task_id: Annotated[str, Field(description="As returned by queue_add_task.")],
        agreed: Annotated[Consent, Resolve(agree_to_cancel)],
        confirmation: Confirmation = None,
    ) -> TaskView:
        """Cancel a waiting or running task; one that has ended stays as it is."""
        return view_task(await runtime.queue.cancel_task(task_id))

    @server.tool(title="How the queue is doing", annotations=READS)
    @teaching
    async def queue_stats() -> StatsView:
        """Count tasks by status and priority, with ages, and show the workers and what they run."""
        return view_stats(await runtime.queue.stats())

    @server.tool(title="Try dead letters again", annotations=SETS)
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
