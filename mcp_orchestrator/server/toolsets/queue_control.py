"""Tools that steer the queue: what is handed out, and how often."""

from typing import Annotated

from mcp.server import MCPServer
from pydantic import Field

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue import PriorityName, Rate, TaskPriority
from mcp_orchestrator.server.hints import SETS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.toolsets.queue_views import StatsView, view_stats

TypeName = Annotated[str | None, Field(description="A task type.")]
Priority = Annotated[PriorityName | None, Field(description="Or a priority.")]


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""
    queue = runtime.queue
    changes = SETS

    @server.tool(title="Bound a task type", annotations=changes)
    @teaching
    async def queue_limit_type(
        task_type: Annotated[str, Field(description="The type.")],
        concurrency: Annotated[
            int | None, Field(ge=1, description="The most that run at once; null for no bound.")
        ] = None,
        starts: Annotated[
            int | None, Field(ge=1, description="The most that start in any `per_seconds`.")
        ] = None,
        per_seconds: Annotated[float, Field(gt=0)] = 60,
    ) -> StatsView:
        """Bound how many tasks of a type run at once and start in a span, over all workers.

        This replaces the type's limit; without concurrency and starts it lifts it.
        """
        rate = None if starts is None else Rate(starts, per_seconds)
        await queue.limit_type(task_type, concurrency, rate=rate)
        return view_stats(await queue.stats())

    @server.tool(title="Pause a task type or a priority", annotations=changes)
    @teaching
    async def queue_pause(task_type: TypeName = None, priority: Priority = None) -> StatsView:
        """Hand out no more tasks of a type or of a priority; running ones go on."""
        await queue.pause(_one_of(task_type, priority))
        return view_stats(await queue.stats())

    @server.tool(title="Resume a task type or a priority", annotations=changes)
    @teaching
    async def queue_resume(task_type: TypeName = None, priority: Priority = None) -> StatsView:
        """Hand out tasks of a type or of a priority again."""
        await queue.resume(_one_of(task_type, priority))
        return view_stats(await queue.stats())


def _one_of(task_type: str | None, priority: PriorityName | None) -> str | TaskPriority:
    if task_type is not None and priority is None:
        return task_type
    if priority is not None and task_type is None:
        return TaskPriority[priority]
    raise InvalidInputError("Give either task_type or priority.")
