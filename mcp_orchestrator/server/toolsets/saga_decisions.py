"""Tools for what only a person can decide about a saga: each with a reason, and audited."""

from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Elicit, Resolve
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.saga import JsonObject, Order
from mcp_orchestrator.server.confirming import Confirmation, Consent, consent
from mcp_orchestrator.server.hints import ACTS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.toolsets.saga_control import (
    Reason,
    SagaId,
    SagaPlan,
    describe_plan,
    plan_report,
)
from mcp_orchestrator.server.toolsets.saga_views import SagaReport, view_saga
from mcp_orchestrator.server.waiting import ToolContext


class ProbeFinding(BaseModel):
    """One step whose effect was looked for."""

    step: str
    believed: str = Field(description="The step's state in the store.")
    happened: bool | None = Field(description="What its probe found; null when it failed.")
    agrees: bool
    error: str | None


class Reconciliation(BaseModel):
    """What the store believes of a saga, against what probes find."""

    saga_id: str
    agrees: bool = Field(description="Whether every probe agrees with the store.")
    findings: list[ProbeFinding] = Field(description="Only steps that have a probe.")


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""

    @teaching
    async def agree_to_resolve(
        saga_id: str,
        reason: str,
        happened: JsonObject,
        dry_run: bool,
        confirmation: str | None,
        context: ToolContext,
    ) -> Elicit[Consent] | Consent:
        if dry_run:
            return Consent()
        plan = await runtime.sagas.by_hand.preview_resolve(saga_id, happened)
        return await consent(
            runtime, context, "saga_resolve",
            {"saga_id": saga_id, "reason": reason, "happened": happened},
            effect=describe_plan("resolve", saga_id, plan), confirmation=confirmation,
        )  # fmt: skip

    @server.tool(title="Settle what a saga needs a person for", annotations=ACTS)
    @teaching
    async def saga_resolve(
        saga_id: SagaId,
        reason: Reason,
        agreed: Annotated[Consent, Resolve(agree_to_resolve)],
        happened: Annotated[
            dict[str, JsonValue],
            Field(description="Steps in flight that did happen, and what they returned."),
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        dry_run: Annotated[bool, Field(description="Only say what would be done.")] = False,
        confirmation: Confirmation = None,
    ) -> SagaPlan:
        """Say that what needed a person is put right; a held saga goes on, after a person's word.

        Ask the person first, with saga_reconcile's findings where steps have probes.
        """
        hand, order = runtime.sagas.by_hand, Order(reason)
        plan = await hand.preview_resolve(saga_id, happened)
        if dry_run:
            arguments: JsonObject = {"saga_id": saga_id, "reason": reason, "happened": happened}
            token = runtime.confirmations.issue("saga_resolve", arguments)
            return plan_report(plan, await runtime.sagas.get(saga_id), token)
        return plan_report(plan, await hand.resolve(saga_id, order, happened=happened))

    @teaching
    async def agree_to_approve(
        saga_id: str,
        approval: str,
        reason: str,
        approved: bool,
        confirmation: str | None,
        context: ToolContext,
    ) -> Elicit[Consent] | Consent:
        view = await runtime.sagas.get(saga_id)
        answer = "yes" if approved else "no, so that it is undone,"
        return await consent(
            runtime, context, "saga_approve",
            {"saga_id": saga_id, "approval": approval, "reason": reason, "approved": approved},
            effect=f"This says {answer} to {approval!r} of saga {saga_id} ({view.saga_type}) in a"
            " person's name.",
            confirmation=confirmation,
        )  # fmt: skip

    @server.tool(title="Decide what a saga asks a person", annotations=ACTS)
    @teaching
    async def saga_approve(
        saga_id: SagaId,
        approval: Annotated[str, Field(min_length=1, description="What the step asks for.")],
        reason: Reason,
        agreed: Annotated[Consent, Resolve(agree_to_approve)],
        approved: Annotated[bool, Field(description="False refuses: the saga is undone.")] = True,
        confirmation: Confirmation = None,
    ) -> SagaReport:
        """Hand over a person's decision to a `saga.approval` step; never decide for the person."""
        await runtime.sagas.approve(saga_id, approval, Order(reason), approved=approved)
        return view_saga(await runtime.sagas.get(saga_id))

    @server.tool(
        title="Compare a saga with the world",
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False),
    )
    @teaching
    async def saga_reconcile(saga_id: SagaId, reason: Reason) -> Reconciliation:
        """Ask the probes of a finished or held saga what really happened; it changes nothing."""
        findings = await runtime.sagas.by_hand.reconcile(saga_id, Order(reason))
        return Reconciliation(
            saga_id=saga_id,
            agrees=all(finding.agrees for finding in findings),
            findings=[
                ProbeFinding(
                    step=finding.step, believed=finding.believed, happened=finding.happened,
                    agrees=finding.agrees, error=finding.error,
                )
                for finding in findings
            ],
        )  # fmt: skip
