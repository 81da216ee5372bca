"""The long-running tools that the suite asks for, over an MCP task back end in memory."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver import Context as ToolContext
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from mcp_orchestrator.mcp_tasks import McpTask, TaskStatus
from mcp_orchestrator.mcp_tasks.task import Context, Json

REQUIRED: Final = {"failing_job", "test_tool_with_task"}
OFFERED: Final = {"slow_compute", "protocol_error_job", "confirm_delete", "multi_input", *REQUIRED}
ENDED: Final = {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED}
#: What the tools ask by way of their task, before they run.
QUESTIONS: Final = {"confirm_delete": ["confirm"], "multi_input": ["first", "second"]}


def _question(key: str) -> Json:
    schema = {"type": "object", "properties": {key: {"type": "boolean"}}}
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": f"{key}?", "requestedSchema": schema},
    }


class FixtureTasks:
    """Runs calls in the background, and keeps how they stand in memory."""

    def __init__(self) -> None:
        self._tasks: dict[str, McpTask] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._answered: dict[str, asyncio.Event] = {}

    def offers(self, tool: str) -> bool:
        """Tell whether calls of a tool may become tasks."""
        return tool in OFFERED

    def requires(self, tool: str) -> bool:
        """Tell whether calls of a tool always become tasks."""
        return tool in REQUIRED

    async def begin(
        self, params: types.CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> McpTask | HandlerResult:
        """Run a call in the background; a first round that asks is answered at once."""
        if params.name == "test_tool_with_task" and not params.input_responses:
            return await call_next(ctx)
        now = datetime.now(UTC)
        asked = {
            f"{key}-{uuid.uuid4().hex}": _question(key) for key in QUESTIONS.get(params.name, [])
        }
        status = TaskStatus.INPUT_REQUIRED if asked else TaskStatus.WORKING
        task = McpTask(uuid.uuid4().hex, status, now, now, ttl_ms=60_000, input_requests=asked)
        self._tasks[task.task_id] = task
        self._answered[task.task_id] = asyncio.Event()
        running = asyncio.create_task(self._run(task.task_id, ctx, call_next))
        self._running[task.task_id] = running
        return task

    async def _run(self, task_id: str, ctx: Context, call_next: CallNext) -> None:
        if self._tasks[task_id].input_requests:
            await self._answered[task_id].wait()
        try:
            result = await call_next(ctx)
        except asyncio.CancelledError:
            self._change(task_id, status=TaskStatus.CANCELLED)
        except MCPError as error:
            told = {"code": error.error.code, "message": error.error.message}
            self._change(task_id, status=TaskStatus.FAILED, error=told)
        else:
            assert isinstance(result, types.CallToolResult)
            wire = result.model_dump(by_alias=True, mode="json", exclude_none=True)
            self._change(task_id, status=TaskStatus.COMPLETED, result=wire)

    def _change(self, task_id: str, **values: Any) -> None:
        task = self._tasks[task_id]
        if task.status not in ENDED:
            self._tasks[task_id] = replace(task, updated_at=datetime.now(UTC), **values)

    async def get(self, task_id: str) -> McpTask | None:
        """Return a task, or None."""
        return self._tasks.get(task_id)

    async def update(self, task_id: str, answers: Mapping[str, Json]) -> bool:
        """Take answers; the call goes on once there is one for each question."""
        task = self._tasks.get(task_id)
        if task is None:
            return False
        left = {key: it for key, it in task.input_requests.items() if key not in answers}
        if task.input_requests and not left:
            self._change(task_id, status=TaskStatus.WORKING, input_requests={})
            self._answered[task_id].set()
        else:
            self._change(task_id, input_requests=left)
        return True

    async def cancel(self, task_id: str) -> bool:
        """Stop a call."""
        if task_id not in self._tasks:
            return False
        self._change(task_id, status=TaskStatus.CANCELLED)
        self._running[task_id].cancel()
        return True


def register(server: MCPServer[None]) -> None:
    """Put the tools on a server."""

    @server.tool()
    def greet(name: str) -> str:
        """Greet."""
        return f"Hello, {name}!"

    @server.tool()
    async def slow_compute(seconds: float, label: str = "") -> str:
        """Take a while."""
        await asyncio.sleep(seconds)
        return f"computed {label}"

    @server.tool()
    async def failing_job() -> str:
        """Fail as a tool does."""
        raise ToolError("This job fails.")

    @server.tool()
    async def protocol_error_job() -> str:
        """Fail as the protocol does."""
        raise MCPError(code=types.INTERNAL_ERROR, message="This job breaks the protocol.")

    @server.tool()
    async def confirm_delete(filename: str) -> str:
        """Delete after a question."""
        return f"deleted {filename}"

    @server.tool()
    async def multi_input() -> str:
        """Do something after two questions."""
        return "answered"

    @server.tool(structured_output=False)
    async def test_tool_with_task(
        context: ToolContext[Any, Any],
    ) -> str | types.InputRequiredResult:
        """Ask for a name, then take a while."""
        given = (context.input_responses or {}).get("user_name")
        if given is None:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            params = types.ElicitRequestFormParams.model_validate(
                {"message": "What is your name?", "requestedSchema": schema}
            )
            question = types.ElicitRequest(params=params)
            return types.InputRequiredResult(input_requests={"user_name": question})
        return f"Hello, {given.model_dump(mode='json').get('content')}!"
