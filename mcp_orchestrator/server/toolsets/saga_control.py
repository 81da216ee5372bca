"""Tools for a saga that is under way or has ended: why, what happened, and what to do about it."""

from datetime import datetime
from typing import Annotated, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Elicit, Resolve
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.runtime.queue_step import DESCRIPTION, QUEUE_STEP
from mcp_orchestrator.saga import (
    BUILT_IN_ACTIONS,
    JsonObject,
    Order,
    Preview,
    SagaView,
    StepState,
    explain,
)
from mcp_orchestrator.server.confirming import Confirmation, Consent, consent
from mcp_orchestrator.server.hints import ACTS, READS, STARTS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.owned.sagas import OwnedInterventions
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.toolsets.saga_views import SagaReport, describe_event, view_saga
from mcp_orchestrator.server.waiting import ToolContext

SagaId = Annotated[str, Field(description="As returned by saga_start, saga_list or loop_start.")]
Reason = Annotated[str, Field(min_length=1, description="Why; the audit trail keeps it.")]


class SagaPlan(BaseModel):
    """What an order to a saga would do, or has set going."""

    dry_run: bool = Field(description="True: nothing was changed.")
    runs: list[str] = Field(description="Steps that run, in order.")
    compensates: list[str] = Field(description="Steps that are undone, in order.")
    skips: list[str] = Field(description="Steps that count as done.")
    confirmation: str | None = Field(description="Of a dry run: pass it to give the order.")
    saga: SagaReport


def plan_report(plan: Preview, view: SagaView, confirmation: str | None = None) -> SagaPlan:
    """Show what an order has set going; with a confirmation, what it would."""
    return SagaPlan(
        dry_run=confirmation is not None, runs=plan.runs, compensates=plan.compensates,
        skips=plan.skips, confirmation=confirmation, saga=view_saga(view),
    )  # fmt: skip


def describe_plan(order: str, saga_id: str, plan: Preview) -> str:
    """Say in a sentence what an order would do."""
    parts = {"run": plan.runs, "undo": plan.compensates, "count as done": plan.skips}
    told = "; ".join(f"{what}: {', '.join(steps)}" for what, steps in parts.items() if steps)
    return f"The order {order} to saga {saga_id} would {told or 'run no step'}."


class AuditPage(BaseModel):
    """A part of a saga's audit trail."""

    saga_id: str
    events: list[str] = Field(description="One line an event, oldest first.")
    after: int = Field(description="Pass it as `after` to read on.")
    intact: bool = Field(description="Whether the hash chain of the whole trail verifies.")
    tampering: list[str] = Field(description="Where it does not, and how.")


class CatalogEntry(BaseModel):
    """One action that a saga's step can name."""

    name: str
    description: str
    arguments: dict[str, JsonValue] = Field(description="JSON Schema of its arguments.")
    compensation: str | None = Field(description="The action that undoes it by default.")


class Catalog(BaseModel):
    """Every action a saga can use here."""

    actions: list[CatalogEntry]


class SagaExplanation(BaseModel):
    """Why a saga stands where it stands."""

    saga_id: str
    state: str
    why: str
    next: str = Field(description="What happens next by itself.")
    when: datetime | None = Field(description="When, if it waits for a moment.")
    advice: str = Field(description="The safe thing to do.")


Command = Literal["retry", "compensate", "rewind", "fork"]


async def _plan(
    hand: OwnedInterventions, saga_id: str, command: Command, skip: dict[str, JsonValue], step: str
) -> Preview:
    if command == "retry":
        return await hand.preview_retry(saga_id, skip)
    if command == "compensate":
        return await hand.preview_compensate(saga_id)
    if command == "rewind":
        return await hand.preview_rewind(saga_id, step)
    return await hand.preview_fork(saga_id, step)


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""
    _register_readers(server, runtime)
    _register_orders(server, runtime)


def _register_readers(server: MCPServer[None], runtime: Workspace) -> None:
    reads = READS

    @server.tool(title="Read a saga's audit trail", annotations=reads)
    @teaching
    async def saga_audit(
        saga_id: SagaId,
        after: Annotated[int, Field(ge=0, description="Only events with a higher number.")] = 0,
        limit: Annotated[int, Field(ge=1, le=500)] = 100,
    ) -> AuditPage:
        """Read what happened to a saga, event by event, and whether the trail is untouched."""
        events = await runtime.sagas.audit(saga_id, after=after, limit=limit)
        found = await runtime.sagas.verify_audit(saga_id)
        return AuditPage(
            saga_id=saga_id,
            events=[describe_event(event) for event in events],
            after=events[-1].sequence if events else after,
            intact=not found,
            tampering=[f"event {place.sequence}: {place.what}" for place in found],
        )

    @server.tool(title="List the actions for sagas", annotations=reads)
    @teaching
    async def saga_catalog() -> Catalog:
        """List every action that a step of saga_start can name, with its arguments and undo."""
        described = {
            **BUILT_IN_ACTIONS, QUEUE_STEP: DESCRIPTION, **runtime.registry.catalog()
        }  # fmt: skip
        return Catalog(
            actions=[
                CatalogEntry.model_validate({"name": name, **entry})
                for name, entry in sorted(described.items())
            ]
        )

    @server.tool(title="Explain a saga", annotations=reads)
    @teaching
    async def saga_explain(saga_id: SagaId) -> SagaExplanation:
        """Say why a saga stands where it stands, what comes next and when, and what is safe."""
        view = await runtime.sagas.get(saga_id)
        told = explain(view)
        return SagaExplanation(
            saga_id=saga_id, state=view.state, why=told.why, next=told.next, when=told.when,
            advice=told.advice,
        )  # fmt: skip


def _register_orders(server: MCPServer[None], runtime: Workspace) -> None:
    @server.tool(title="Send a signal to a saga", annotations=STARTS)
    @teaching
    async def saga_signal(
        saga_id: SagaId,
        signal: Annotated[
            str, Field(min_length=1, max_length=200, description="What the step waits for.")
        ],
        value: Annotated[JsonValue, Field(description="What the waiting step returns.")] = None,
    ) -> SagaReport:
        """Give a saga what a `saga.wait_for_signal` step waits for; kept if it waits only later."""
        await runtime.sagas.signal(saga_id, signal, value)
        return view_saga(await runtime.sagas.get(saga_id))

    @teaching
    async def agree_to_abort(
        saga_id: str, reason: str, compensate: bool, confirmation: str | None, context: ToolContext
    ) -> Elicit[Consent] | Consent:
        view = await runtime.sagas.get(saga_id)
        done = [step.name for step in view.steps if step.state is StepState.COMPLETED]
        undone = ", ".join(done) if compensate and done else "nothing"
        return await consent(
            runtime, context, "saga_abort",
            {"saga_id": saga_id, "reason": reason, "compensate": compensate},
            effect=f"This stops saga {saga_id} ({view.saga_type}, {view.state}) and undoes"
            f" {undone}.",
            confirmation=confirmation,
        )  # fmt: skip

    @server.tool(title="Abort a saga", annotations=ACTS)
    @teaching
    async def saga_abort(
        saga_id: SagaId,
        reason: Reason,
        agreed: Annotated[Consent, Resolve(agree_to_abort)],
        compensate: Annotated[bool, Field(description="Undo the finished steps first.")] = True,
        confirmation: Confirmation = None,
    ) -> SagaReport:
        """Stop a saga that has not ended; what is in flight is cancelled, what is done undone."""
        return view_saga(await runtime.sagas.abort(saga_id, reason, compensate=compensate))

    _register_retry(server, runtime)


def _register_retry(server: MCPServer[None], runtime: Workspace) -> None:
    def in_full(
        saga_id: str, reason: str, order: str, skip: JsonObject, new_input: JsonValue, step: str
    ) -> JsonObject:
        return {
            "saga_id": saga_id, "reason": reason, "order": order, "skip": skip,
            "new_input": new_input, "from_step": step,
        }  # fmt: skip

    @teaching
    async def agree_to_order(
        saga_id: str,
        reason: str,
        order: Command,
        skip: JsonObject,
        new_input: JsonObject | None,
        from_step: str,
        dry_run: bool,
        confirmation: str | None,
        context: ToolContext,
    ) -> Elicit[Consent] | Consent:
        if dry_run:
            return Consent()
        plan = await _plan(runtime.sagas.by_hand, saga_id, order, skip, from_step)
        return await consent(
            runtime, context, "saga_retry",
            in_full(saga_id, reason, order, skip, new_input, from_step),
            effect=describe_plan(order, saga_id, plan), confirmation=confirmation,
        )  # fmt: skip

    @server.tool(title="Set a saga going again", annotations=ACTS)
    @teaching
    async def saga_retry(
        saga_id: SagaId,
        reason: Reason,
        agreed: Annotated[Consent, Resolve(agree_to_order)],
        order: Annotated[
            Command,
            Field(
                description="retry runs what is not completed; compensate undoes what is; rewind"
                " undoes from_step and all after it and runs them anew; fork starts a new saga"
                " that has the results before from_step and runs the rest."
            ),
        ] = "retry",
        skip: Annotated[
            dict[str, JsonValue],
            Field(description="Steps that shall count as done, and what they shall return."),
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        new_input: Annotated[
            JsonObject | None, Field(description="In the old input's place; not for compensate.")
        ] = None,
        from_step: Annotated[
            str, Field(description="For rewind and fork: the first step that runs.")
        ] = "",
        dry_run: Annotated[bool, Field(description="Only say what would be done.")] = False,
        confirmation: Confirmation = None,
    ) -> SagaPlan:
        """Go on with a saga that failed, was aborted or is held; ask with dry_run first."""
        hand, why = runtime.sagas.by_hand, Order(reason)
        plan = await _plan(hand, saga_id, order, skip, from_step)
        if dry_run:
            arguments = in_full(saga_id, reason, order, skip, new_input, from_step)
            token = runtime.confirmations.issue("saga_retry", arguments)
            return plan_report(plan, await runtime.sagas.get(saga_id), token)
        if order == "retry":
            view = await hand.retry(saga_id, why, skip=skip, new_input=new_input)
        elif order == "compensate":
            view = await hand.compensate(saga_id, why)
        elif order == "rewind":
            view = await hand.rewind(saga_id, why, to_step=from_step, new_input=new_input)
        else:
            view = await hand.fork(saga_id, why, from_step=from_step, new_input=new_input)
        return plan_report(plan, view)
