"""MCP tasks over what is durable anyway: loops, sagas and queued tasks.

The MCP task is the saga or queued task itself, under another name: it is on disk before the client
sees its id, any replica answers for it, and a server's death leaves nothing to put in order.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult
from mcp_types import CallToolRequestParams, CallToolResult, TextContent
from pydantic import BaseModel

from mcp_orchestrator.errors import ConflictError, NotFoundError
from mcp_orchestrator.mcp_tasks import McpTask, TaskStatus
from mcp_orchestrator.mcp_tasks.task import Context, Json
from mcp_orchestrator.queue import Task
from mcp_orchestrator.queue import TaskStatus as QueuedStatus
from mcp_orchestrator.saga import SagaState, SagaView
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.toolsets.loop import get_loop, view_loop
from mcp_orchestrator.server.toolsets.queue_views import view_task
from mcp_orchestrator.server.toolsets.saga_views import view_saga

#: What each tool starts: its result says the id as ``KIND_id``, an MCP task of it is ``KIND-ID``.
_KINDS: Final = {"loop_start": "loop", "saga_start": "saga", "queue_add_task": "task"}


class DurableTasks:
    """The back end of MCP tasks on this server.

    Args:
        runtime: sagas and queue as the caller sees them.
    """

    def __init__(self, runtime: Workspace) -> None:
        self._runtime = runtime

    def offers(self, tool: str) -> bool:
        """Tell whether calls of a tool may become tasks."""
        return tool in _KINDS

    def requires(self, tool: str) -> bool:  # noqa: ARG002 - the interface's signature
        """Tell that every tool can also be called in the ordinary way."""
        return False

    async def begin(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> McpTask | HandlerResult:
        """Start the work by the tool itself, without its wait, and return it as a task."""
        (params.arguments or {}).pop("wait_seconds", None)
        result = await call_next(ctx)
        kind = _KINDS[params.name]
        if not isinstance(result, CallToolResult) or result.is_error:
            return result
        view: dict[str, Any] = result.structured_content or {}
        return await self.get(f"{kind}-{view.get(f'{kind}_id')}") or result

    async def answer(
        self,
        params: CallToolRequestParams,  # noqa: ARG002 - the interface's signature
        ctx: Context,
        call_next: CallNext,
    ) -> HandlerResult:
        """Call the tool: its own wait is bounded."""
        return await call_next(ctx)

    async def get(self, task_id: str) -> McpTask | None:
        """Return a task of the caller's, or None."""
        kind, _, identifier = task_id.partition("-")
        with suppress(NotFoundError):
            if kind == "loop":
                return _of_saga(task_id, await get_loop(self._runtime, identifier), view_loop)
            if kind == "saga":
                return _of_saga(task_id, await self._runtime.sagas.get(identifier), view_saga)
            if kind == "task":
                return _of_queue(task_id, await self._runtime.queue.get_task(identifier))
        return None

    async def update(self, task_id: str, answers: Mapping[str, Json]) -> bool:  # noqa: ARG002 - as above
        """Take answers; nothing here asks by way of a task, so they change nothing."""
        return await self.get(task_id) is not None

    async def cancel(self, task_id: str) -> bool:
        """Ask a task of the caller's to stop: a saga undoes what it has done."""
        if await self.get(task_id) is None:
            return False
        kind, _, identifier = task_id.partition("-")
        if kind == "task":
            await self._runtime.queue.cancel_task(identifier)
        else:
            with suppress(ConflictError):  # it has ended, or is going back already
                await self._runtime.sagas.abort(identifier, "Cancelled as an MCP task.")
        return True


def _of_saga(task_id: str, saga: SagaView, view: Callable[[SagaView], BaseModel]) -> McpTask:
    status = TaskStatus.WORKING
    if saga.state is SagaState.ABORTED:
        status = TaskStatus.CANCELLED
    elif saga.state.is_finished:
        status = TaskStatus.COMPLETED
    running = next((step.name for step in saga.steps if step.state == "executing"), None)
    message = saga.held_reason or (f"{saga.state}: {running}" if running else saga.state.value)
    return McpTask(
        task_id, status, saga.started_at, saga.updated_at, message,
        result=_result(view(saga)) if status is TaskStatus.COMPLETED else None,
    )  # fmt: skip


def _of_queue(task_id: str, task: Task) -> McpTask:
    status = TaskStatus.WORKING
    if task.status is QueuedStatus.CANCELLED:
        status = TaskStatus.CANCELLED
    elif task.status.is_final:
        status = TaskStatus.COMPLETED
    message = task.progress.message if task.progress else task.status.value
    updated = task.finished_at or task.started_at or task.created_at
    return McpTask(
        task_id, status, task.created_at, updated, message,
        result=_result(view_task(task)) if status is TaskStatus.COMPLETED else None,
    )  # fmt: skip


def _result(view: BaseModel) -> Json:
    """Return what the tool would have answered, as it goes over the wire."""
    result = CallToolResult(
        content=[TextContent(text=view.model_dump_json(indent=2))],
        structured_content=view.model_dump(mode="json"),
    )
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)
