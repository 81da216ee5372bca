"""Tools of the code loop: from a problem to a program that passes its tests."""

from typing import Annotated, cast

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import AcceptedElicitation, Elicit, ElicitationResult, Resolve, Sample
from mcp_types import CreateMessageResult, ToolAnnotations
from pydantic import BaseModel, Field, ValidationError

from mcp_orchestrator.agents import SamplingRequest
from mcp_orchestrator.codeloop import (
    APPROVAL,
    LOOP_TYPE,
    NO_PROVIDER_REMEDY,
    Budget,
    Choice,
    LoopResult,
    Problem,
    delivery_question,
    describe,
    describe_spend,
    loop_definition,
    progress_so_far,
)
from mcp_orchestrator.errors import ConfigurationError, InvalidInputError, NotFoundError
from mcp_orchestrator.packs.signature import describe_validation
from mcp_orchestrator.saga import JsonObject, Order, SagaState, SagaView
from mcp_orchestrator.server.hints import READS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.sampling import (
    as_reply,
    as_sample,
    offers_elicitation,
    offers_sampling,
)
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.waiting import (
    ASK_AGAIN_AFTER,
    ToolContext,
    WaitSeconds,
    follow_saga,
)

_ENDED = (SagaState.COMPLETED, SagaState.FAILED, SagaState.ABORTED)
_LARGEST_INLINE = 40_000


class Approval(BaseModel):
    """A person's decision about a delivery."""

    approve: bool = Field(description="Whether the program may be delivered.")
    reason: str = Field(default="", description="Why; the audit trail keeps it.")


class NotAsked(Approval):
    """Nobody was asked, because nothing waits for a person."""

    approve: bool = False


class LoopView(BaseModel):
    """A loop as a client sees it."""

    loop_id: str
    state: SagaState
    step: str | None = Field(
        description="The step that is running: reason, generate, refine, approve, deliver."
    )
    solved: bool | None = Field(description="Whether all tests pass; null while it runs.")
    stop_reason: str | None
    code: str | None = Field(description="The program, or the best so far when not solved.")
    patch: str | None = Field(description="The change to the given program, as a unified diff.")
    attempts: list[str]
    spent: str | None
    delivered_to: str | None
    error: str | None
    resources: list[str] = Field(description="The whole loop, its program and its report.")
    next: str = Field(description="What to do now.")


def view_loop(view: SagaView) -> LoopView:
    """Show a loop to a client."""
    result, so_far = loop_result(view), progress_so_far(view)
    attempts = result.attempts if result else so_far.attempts if so_far else []
    code = program_of(view)
    running = next((step.name for step in view.steps if step.state == "executing"), None)
    return LoopView(
        loop_id=view.saga_id,
        state=view.state,
        step=running,
        solved=result.solved if result else None,
        stop_reason=result.stop_reason if result else None,
        code=_shorten(code, view.saga_id) if code is not None else None,
        patch=_shorten(result.patch, view.saga_id) if result and result.patch else None,
        attempts=[describe(attempt) for attempt in attempts],
        spent=describe_spend(result.spend) if result else None,
        delivered_to=result.delivered_to if result else None,
        error=view.error,
        resources=[f"loop://{view.saga_id}{part}" for part in ("", "/code", "/report")],
        next=_next(view, result),
    )


def loop_result(view: SagaView) -> LoopResult | None:
    """Return what a finished loop delivered, or None."""
    if view.state is not SagaState.COMPLETED:
        return None
    return LoopResult.model_validate(view.output)


def program_of(view: SagaView) -> str | None:
    """Return what a loop delivered, or the best program that it has so far."""
    result, so_far = loop_result(view), progress_so_far(view)
    if result is not None:
        return result.code
    return so_far.best.code if so_far is not None and so_far.best is not None else None


async def get_loop(runtime: Workspace, loop_id: str) -> SagaView:
    """Return the saga of a loop.

    Raises:
        NotFoundError: there is no such loop.
    """
    view = await runtime.sagas.get(loop_id)
    if view.saga_type != LOOP_TYPE:
        raise NotFoundError(f"{loop_id!r} is a saga, not a loop.", remedy="Use saga_get for it.")
    return view


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""

    @server.tool(
        title="Write a program that passes its tests",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=True,
        ),
    )
    @teaching
    async def loop_start(
        problem: Annotated[
            str, Field(min_length=1, max_length=100_000, description="What the program must do.")
        ],
        context: ToolContext,
        tests: Annotated[
            str | None,
            Field(
                max_length=100_000,
                description="Python tests that decide: `assert` lines, pytest functions or unittest"
                " classes that import from `solution`. Without them tests are generated.",
            ),
        ] = None,
        program: Annotated[
            str | None,
            Field(
                max_length=100_000,
                description="A present program to repair until the tests pass; gives a patch.",
            ),
        ] = None,
        module_name: Annotated[
            str, Field(description="What the tests import the program as.")
        ] = "solution",
        files: Annotated[
            dict[str, str], Field(description="Other files it needs, by relative path.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        signature: Annotated[str | None, Field(max_length=1000)] = None,
        allowed_imports: Annotated[
            list[str] | None, Field(description="Modules the program may import; any, if left out.")
        ] = None,
        language_level: Annotated[
            str | None, Field(description="The oldest Python whose syntax it may use, as 3.9.")
        ] = None,
        candidates: Annotated[int, Field(ge=1, le=16, description="First attempts.")] = 4,
        budget: Annotated[Budget, Field(description="What it may spend at most.")] = Budget(),  # noqa: B008 - frozen, and the schema shows it
        idempotency_key: Annotated[
            str | None, Field(description="The same key returns the loop it started before.")
        ] = None,
        wait_seconds: WaitSeconds = 0,
    ) -> LoopView:
        """Start the durable loop reason → generate → test → fix that ends in working code.

        Returns a loop_id at once (or after wait_seconds); follow it with loop_get. It goes on when
        you disconnect or the server restarts, and no model call is paid for twice. Give tests:
        they decide what is right.
        """
        await runtime.sandbox.check()
        asked = _read_problem(
            problem=problem,
            tests=tests,
            program=program,
            module_name=module_name,
            files=files,
            signature=signature,
            allowed_imports=allowed_imports,
            language_level=language_level,
            candidates=candidates,
            budget=budget,
            provider=_choose_provider(runtime, context),
        )
        view = await runtime.sagas.start(
            loop_definition(),
            cast("JsonObject", asked.model_dump(mode="json")),
            idempotency_key=f"loop:{idempotency_key}" if idempotency_key else None,
        )
        if wait_seconds > 0 and asked.provider == "configured":
            view = await follow_saga(runtime.sagas, view.saga_id, wait_seconds, context)
        return view_loop(view)

    @teaching
    async def find_question(
        loop_id: str, wait_seconds: float, context: ToolContext
    ) -> SamplingRequest | None:
        """Return what a loop wants to know from the client's own model, if anything."""
        view = await get_loop(runtime, loop_id)
        if not _uses_sampling(view) or not offers_sampling(context):
            return None
        return await _next_question(runtime, loop_id, max(wait_seconds, 1.0))

    async def ask_client(
        question: Annotated[SamplingRequest | None, Resolve(find_question)],
    ) -> Sample | None:
        return as_sample(question.request) if question is not None else None

    @teaching
    async def ask_person(loop_id: str, context: ToolContext) -> Elicit[Approval] | Approval:
        """Ask the person behind the client whether a risky program may be delivered."""
        question = delivery_question(await get_loop(runtime, loop_id))
        if question is None or not offers_elicitation(context):
            return NotAsked()
        return Elicit(question, Approval)

    @server.tool(title="Look at a loop", annotations=READS)
    @teaching
    async def loop_get(
        loop_id: Annotated[str, Field(description="As returned by loop_start.")],
        context: ToolContext,
        question: Annotated[SamplingRequest | None, Resolve(find_question)],
        sampled: Annotated[CreateMessageResult | None, Resolve(ask_client)],
        decision: Annotated[ElicitationResult[Approval], Resolve(ask_person)],
        wait_seconds: WaitSeconds = 0,
    ) -> LoopView:
        """Read a loop's state and, at its end, its program, attempts and cost; can wait for it.

        When the loop thinks with your own model (no provider key is set), each call hands it one
        of your answers: go on calling until it has ended. A risky program waits for a person.
        """
        if isinstance(decision, AcceptedElicitation) and not isinstance(decision.data, NotAsked):
            await _decide(runtime, loop_id, decision.data)
        if question is not None and sampled is not None:
            await runtime.mailbox.answer(question, as_reply(sampled))
            await _next_question(runtime, loop_id, wait_seconds)
        elif wait_seconds > 0:
            await follow_saga(runtime.sagas, loop_id, wait_seconds, context)
        return view_loop(await get_loop(runtime, loop_id))


async def _decide(runtime: Workspace, loop_id: str, decision: Approval) -> None:
    """Hand a person's decision to the loop, unless another was faster."""
    if delivery_question(await get_loop(runtime, loop_id)) is None:
        return
    reason = decision.reason or "decided in the client, when it asked"
    await runtime.sagas.approve(loop_id, APPROVAL, Order(reason), approved=decision.approve)


def _read_problem(**fields: object) -> Problem:
    try:
        return Problem.model_validate(fields)
    except ValidationError as error:
        raise InvalidInputError(describe_validation("loop_start", error)) from error


def _choose_provider(runtime: Workspace, context: ToolContext) -> Choice:
    if runtime.roles.configured_coder is not None:
        return "configured"
    if offers_sampling(context):
        return "sampling"
    raise ConfigurationError(
        "No provider for code is configured and this client offers no sampling.",
        remedy=NO_PROVIDER_REMEDY,
    )


def _uses_sampling(view: SagaView) -> bool:
    return view.state not in _ENDED and view.input.get("provider") == "sampling"


async def _next_question(
    runtime: Workspace, loop_id: str, seconds: float
) -> SamplingRequest | None:
    """Wait until the loop asks the client's model something, or ends, or the time is over."""
    found: list[SamplingRequest | None] = []
    async with anyio.create_task_group() as tasks:

        async def until_asked() -> None:
            found.append(await runtime.mailbox.pending(loop_id, wait=seconds))
            tasks.cancel_scope.cancel()

        async def until_ended() -> None:
            await runtime.sagas.wait_for(loop_id, seconds)
            tasks.cancel_scope.cancel()

        tasks.start_soon(until_asked)
        tasks.start_soon(until_ended)
    return found[0] if found else None


def _shorten(code: str, loop_id: str) -> str:
    if len(code) <= _LARGEST_INLINE:
        return code
    return f"{code[:_LARGEST_INLINE]}\n# … cut here; the whole is at loop://{loop_id}/code"


def _next(view: SagaView, result: LoopResult | None) -> str:
    if result is not None and result.solved:
        return "Done: use the code."
    if result is not None:
        return "Not solved: give clearer tests or a larger budget, and start another loop."
    question = delivery_question(view)
    if question is not None:
        return (
            f"{question} A person decides: call loop_get again if your client can ask them, else"
            f" they run `mcp-orchestrator saga approve {view.saga_id} {APPROVAL} --reason …`."
        )
    if view.state in _ENDED:
        kept = " `code` is the best it had." if program_of(view) is not None else ""
        return f"It failed; the error says why. Nothing was delivered.{kept}"
    return f"Call loop_get with this loop_id again in {ASK_AGAIN_AFTER:.0f} s."
