"""The extension: three methods, and a ``tools/call`` that may answer with a task."""

from collections.abc import Sequence
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, CallToolRequestParams, RequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field
from starlette.requests import HTTPConnection

from mcp_orchestrator.mcp_tasks.task import Context, Json, McpTask, TaskBackend

IDENTIFIER: Final = "io.modelcontextprotocol/tasks"
_VERSIONS: Final = frozenset(MODERN_PROTOCOL_VERSIONS)
_NAME_HEADER: Final = "mcp-name"


class TaskParams(RequestParams):
    """Which task is meant."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to what a task asked."""

    input_responses: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])


class Tasks(Extension):
    """Lets clients that know the extension leave long calls and come back for their results.

    Args:
        backends: who does the work; the first that offers a tool, or knows a task, has it.
    """

    identifier = IDENTIFIER

    def __init__(self, backends: Sequence[TaskBackend]) -> None:
        self._backends = backends

    def methods(self) -> Sequence[MethodBinding]:
        """Serve ``tasks/get``, ``tasks/update`` and ``tasks/cancel``."""
        return (
            MethodBinding("tasks/get", TaskParams, self._get, _VERSIONS),
            MethodBinding("tasks/update", UpdateParams, self._update, _VERSIONS),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, _VERSIONS),
        )

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Answer with a task where the client can take one; all others get the ordinary call."""
        backend = next((one for one in self._backends if one.offers(params.name)), None)
        if backend is None:
            return await call_next(ctx)
        if not _declared(ctx):
            if backend.requires(params.name):
                require_client_extension(ctx, IDENTIFIER)
            return await backend.answer(params, ctx, call_next)
        begun = await backend.begin(params, ctx, call_next)
        return begun.created() if isinstance(begun, McpTask) else begun

    async def _get(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        for backend in self._backends:
            if (task := await backend.get(params.task_id)) is not None:
                return task.detailed()
        raise _unknown(params.task_id)

    async def _update(self, ctx: Context, params: UpdateParams) -> HandlerResult:
        _check(ctx, params.task_id)
        for backend in self._backends:
            if await backend.update(params.task_id, params.input_responses):
                return _acknowledged()
        raise _unknown(params.task_id)

    async def _cancel(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        for backend in self._backends:
            if await backend.cancel(params.task_id):
                return _acknowledged()
        raise _unknown(params.task_id)


def _declared(ctx: Context) -> bool:
    capabilities = ctx.session.client_capabilities
    extensions = capabilities.extensions if capabilities else None
    return ctx.protocol_version in _VERSIONS and IDENTIFIER in (extensions or {})


def _check(ctx: Context, task_id: str) -> None:
    """Refuse who has not declared the extension, or names another task in the header.

    A missing header is let pass: fastmcp's client sends none with these methods.
    """
    require_client_extension(ctx, IDENTIFIER)
    request: object = ctx.request
    if not isinstance(request, HTTPConnection):
        return
    if request.headers.get(_NAME_HEADER, task_id) != task_id:
        raise MCPError(code=HEADER_MISMATCH, message="Header Mcp-Name is not params.taskId")


def _acknowledged() -> Json:
    return {"resultType": "complete"}


def _unknown(task_id: str) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=f"Unknown task: {task_id[:80]}")
