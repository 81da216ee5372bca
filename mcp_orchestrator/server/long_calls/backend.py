"""Long calls as MCP tasks, and as calls that end in time."""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Final, Protocol

import anyio
from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    InputRequiredResult,
    InputResponseRequestParams,
)
from pydantic import JsonValue, ValidationError

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import InvalidInputError, NotFoundError, OrchestratorError
from mcp_orchestrator.mcp_tasks import McpTask
from mcp_orchestrator.mcp_tasks.task import Context
from mcp_orchestrator.queue import NewTask, Task, TaskContext, TaskHandler, TaskPriority, TaskQueue
from mcp_orchestrator.server.auth.caller import calling
from mcp_orchestrator.server.long_calls.background import BackgroundContext, caller_in_background
from mcp_orchestrator.server.long_calls.call import (
    PREFIX,
    Json,
    LongCall,
    asking,
    ended,
    error_result,
    failed,
    is_call,
    mcp_task,
    outcome_of,
    refusal,
    task_type,
    unfinished,
)
from mcp_orchestrator.server.long_calls.rounds import Rounds
from mcp_orchestrator.server.owned.queue import OwnedQueue
from mcp_orchestrator.server.waiting import LONGEST_WAIT
from mcp_orchestrator.store.mcp_questions import McpQuestions

_log = logging.getLogger(__name__)
#: How often a client that waits is told of progress, in seconds.
_LOOK_EVERY: Final = 0.5


class ToolServer(Protocol):
    """The server whose tools are called."""

    def accepts(self, name: str, arguments: Json) -> bool:
        """Tell whether a tool takes such arguments."""
        ...

    async def call_tool(
        self, name: str, arguments: Json, context: BackgroundContext
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool."""
        ...


class LongCalls:
    """The back end of MCP tasks for tools whose work is not written down otherwise.

    Args:
        queue: where calls wait and run, for whoever owns them.
        mine: the same as the caller sees it.
        questions: what tools in the background ask.
        clock: bounds how often progress is written.
        tools: the tools that may take long.
        always: those of them whose every call is a task.
        asking_first: those of them that ask before they are worth a task.
        bounded: those that could outlast what a host waits for, so that they go through the
            queue for every client; sandbox runs, for one, have a shorter limit of their own.
        patience: how long such a client is kept waiting at most, in seconds.
    """

    def __init__(
        self,
        queue: TaskQueue,
        mine: OwnedQueue,
        questions: McpQuestions,
        clock: Clock,
        *,
        tools: Collection[str],
        always: Collection[str] = (),
        asking_first: Collection[str] = (),
        bounded: Collection[str] = (),
        patience: float = LONGEST_WAIT,
    ) -> None:
        self._queue = queue
        self._mine = mine
        self._questions = questions
        self._rounds = Rounds(queue, questions)
        self._clock = clock
        self._tools = tools
        self._always = always
        self._asking_first = asking_first
        self._bounded = bounded
        self._patience = patience
        self._server: ToolServer | None = None
        self._worked_on_here: set[str] = set()

    def serve(
        self,
        server: ToolServer,
        names: Collection[str],
        offer: Callable[[str, TaskHandler], bool],
    ) -> None:
        """Run the tools of a server.

        Args:
            server: whose tools.
            names: which tools it has, or will have.
            offer: gives a handler to this process's worker; tells whether there is one.
        """
        self._server = server
        self._worked_on_here = {
            tool for tool in self._tools if tool in names and offer(task_type(tool), self.run)
        }

    def offers(self, tool: str) -> bool:
        """Tell whether calls of a tool may become tasks."""
        return tool in self._tools

    def requires(self, tool: str) -> bool:
        """Tell whether calls of a tool always become tasks."""
        return tool in self._always

    async def begin(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> McpTask | HandlerResult:
        """Queue a call; one that is wrong, or asks first, or is bound here, is made at once."""
        asks = params.name in self._asking_first and not params.input_responses
        if asks or not self._can_be_queued(params):
            return await call_next(ctx)
        try:
            task = await self._add(params, ctx.session.client_capabilities, TaskPriority.NORMAL)
        except OrchestratorError as error:
            return refusal(error)
        return mcp_task(task, task, {})

    async def answer(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Answer a client that knows no tasks, within the time that a host waits."""
        bounded = params.name in self._bounded and params.name in self._worked_on_here
        if not bounded or not self._can_be_queued(params):
            return await call_next(ctx)
        try:
            task = await self._add(params, None, TaskPriority.HIGH)
        except OrchestratorError as error:
            return refusal(error)
        try:
            task = await self._follow(task, ctx)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._queue.cancel_task(task.task_id)
            raise
        if not task.status.is_final:
            return unfinished(task)
        outcome = outcome_of(task)
        if outcome.error is not None:
            raise MCPError(code=outcome.error["code"], message=outcome.error["message"])
        return CallToolResult.model_validate(outcome.result)

    async def get(self, task_id: str) -> McpTask | None:
        """Return a task of the caller's, or None."""
        first = await self._find(task_id)
        return None if first is None else mcp_task(first, *await self._rounds.latest(first))

    async def update(self, task_id: str, answers: Mapping[str, Json]) -> bool:
        """Keep answers; with the last that is missing, the tool is called anew."""
        first = await self._find(task_id)
        if first is None:
            return False
        _, asked = await self._rounds.latest(first)
        given = {key: answer for key, answer in answers.items() if key in asked}
        try:
            InputResponseRequestParams.model_validate({"inputResponses": given})
        except ValidationError as error:
            raise MCPError(code=INVALID_PARAMS, message="An answer has a wrong form.") from error
        await self._rounds.answer(first, given)
        return True

    async def cancel(self, task_id: str) -> bool:
        """Cancel a task of the caller's, and what runs for it."""
        first = await self._find(task_id)
        if first is not None:
            await self._rounds.cancel(first)
        return first is not None

    async def run(self, payload: dict[str, JsonValue], context: TaskContext) -> JsonValue:
        """Run one round: the handler of the queued tasks."""
        call = LongCall.model_validate(payload)
        if self._server is None or not self.offers(call.tool):
            raise InvalidInputError(f"{call.tool[:80]!r} cannot run in the background.")
        answers = InputResponseRequestParams.model_validate(
            {"inputResponses": call.answers, "requestState": call.state}
        )
        can = ClientCapabilities.model_validate(call.capabilities)
        with calling(caller_in_background(context.owner)):
            try:
                result = await self._server.call_tool(
                    call.tool, call.arguments, BackgroundContext(context, can, answers, self._clock)
                )
            except MCPError as error:
                return failed(error.error.code, error.error.message)
            except ToolError as error:  # the model reads it, but never what a crash says
                if isinstance(error, UnexpectedToolError):
                    _log.exception("Tool %s crashed in the background.", call.tool)
                return ended(error_result(str(error)))
        if isinstance(result, CallToolResult):
            return ended(result)
        asked = {
            key: question.model_dump(by_alias=True, mode="json", exclude_none=True)
            for key, question in (result.input_requests or {}).items()
        }
        await self._questions.ask(call.first or context.task_id, call.round, asked)
        return asking(result)

    def _can_be_queued(self, params: CallToolRequestParams) -> bool:
        """Tell whether another process could make a call: sandbox sessions are in this one."""
        arguments = params.arguments or {}
        if self._server is None or arguments.get("session_id") is not None:
            return False
        return self._server.accepts(params.name, arguments)

    async def _add(
        self,
        params: CallToolRequestParams,
        capabilities: ClientCapabilities | None,
        priority: TaskPriority,
    ) -> Task:
        can = capabilities or ClientCapabilities()
        call = LongCall(
            tool=params.name,
            arguments=params.arguments or {},
            capabilities=can.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
        if params.input_responses:
            answered = params.model_dump(by_alias=True, mode="json", exclude_none=True)
            call.answers, call.state = answered["inputResponses"], params.request_state
        new = NewTask(task_type(params.name), call.model_dump(mode="json"), priority=priority)
        return await self._mine.add_task(new)

    async def _follow(self, task: Task, ctx: Context) -> Task:
        """Wait for a task within a host's patience, telling the client how far it is."""
        told, count = None, 0.0
        with anyio.move_on_after(self._patience):
            while not task.status.is_final:
                task = await self._queue.wait_for(task.task_id, _LOOK_EVERY)
                if task.progress is not None and task.progress != told:
                    told, count = task.progress, count + 1
                    await ctx.session.report_progress(count, None, told.message)
        return task

    async def _find(self, task_id: str) -> Task | None:
        if not task_id.startswith(PREFIX):
            return None
        with suppress(NotFoundError):
            task = await self._mine.get_task(task_id.removeprefix(PREFIX))
            return task if is_call(task) else None
        return None
