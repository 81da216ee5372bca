"""Tools of signals: what happened outside, and the rules for what it starts."""

from datetime import datetime
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Elicit, Resolve
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.queue.signals import (
    Outcome,
    Signal,
    SignalRule,
    SignalSaga,
    SignalStatus,
    StartSaga,
    StartTask,
)
from mcp_orchestrator.server.confirming import Confirmation, Consent, consent
from mcp_orchestrator.server.hints import ADDS, READS, REPLACES, SETS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.waiting import ToolContext


class SignalView(BaseModel):
    """A signal and what became of it."""

    signal_id: str
    name: str
    status: SignalStatus
    received_at: datetime
    outcomes: list[Outcome] = Field(description="What each matching rule started.")
    next: str = Field(description="What to do now.")


class SignalList(BaseModel):
    """Signals, newest first."""

    signals: list[SignalView]


class RuleView(BaseModel):
    """What a signal starts."""

    name: str
    pattern: str
    where: dict[str, JsonValue]
    target: dict[str, JsonValue]


class RuleList(BaseModel):
    """Every rule, by name."""

    rules: list[RuleView]


_NEXT = {
    SignalStatus.RECEIVED: "Publish it again with the same signal_id.",
    SignalStatus.ROUTED: "Read the tasks with queue_get_task and the sagas with saga_get.",
    SignalStatus.UNROUTED: "No rule matched; it is kept. signal_add_rule, then signal_route_again.",
    SignalStatus.FAILED: "See the errors of the outcomes; what could be started was.",
}


def view_signal(signal: Signal) -> SignalView:
    """Show a signal to a client."""
    return SignalView(
        signal_id=signal.signal_id,
        name=signal.name,
        status=signal.status,
        received_at=signal.received_at,
        outcomes=list(signal.outcomes),
        next=_NEXT[signal.status],
    )


async def _rules(runtime: Workspace) -> RuleList:
    found = await runtime.signals.list_rules()
    return RuleList(rules=[RuleView.model_validate(rule.model_dump()) for rule in found])


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""

    @server.tool(title="Publish a signal", annotations=ADDS)
    @teaching
    async def signal_publish(
        name: Annotated[str, Field(description="What happened, such as `order.paid`.")],
        payload: Annotated[
            dict[str, JsonValue], Field(description="What is known of it, as JSON.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        signal_id: Annotated[
            str | None, Field(description="The same id is routed once, however often it is sent.")
        ] = None,
    ) -> SignalView:
        """Say that something happened; the rules for it start tasks and sagas."""
        return view_signal(await runtime.signals.publish(name, payload, signal_id=signal_id))

    _register_rules(server, runtime)


def _register_rules(server: MCPServer[None], runtime: Workspace) -> None:
    signals = runtime.signals
    reads = READS

    async def loses(name: str, tail: str) -> str | None:
        """Say which rule would be no more; None where there is none of that name."""
        for rule in await signals.list_rules():
            if rule.name == name:
                return f"The rule {name!r} ({rule.pattern} → {rule.target.kind}) {tail}."
        return None

    @teaching
    async def agree_to_replace(
        name: str,
        pattern: str,
        target: StartTask | StartSaga | SignalSaga,
        where: dict[str, JsonValue],
        confirmation: str | None,
        context: ToolContext,
    ) -> Elicit[Consent] | Consent:
        arguments: dict[str, JsonValue] = {
            "name": name, "pattern": pattern, "where": where,
            "target": target.model_dump(mode="json"),
        }  # fmt: skip
        effect = await loses(name, f"would be replaced by {pattern} → {target.kind}")
        return await consent(
            runtime, context, "signal_add_rule", arguments,
            effect=effect, confirmation=confirmation,
        )  # fmt: skip

    @teaching
    async def agree_to_remove(
        name: str, confirmation: str | None, context: ToolContext
    ) -> Elicit[Consent] | Consent:
        effect = await loses(name, "would be removed")
        return await consent(
            runtime, context, "signal_remove_rule", {"name": name},
            effect=effect, confirmation=confirmation,
        )  # fmt: skip

    @server.tool(title="Say what a signal starts", annotations=REPLACES)
    @teaching
    async def signal_add_rule(
        name: Annotated[str, Field(min_length=1, max_length=200, description="Of the rule.")],
        pattern: Annotated[
            str, Field(min_length=1, max_length=200, description="Of signal names, as `order.*`.")
        ],
        target: Annotated[
            StartTask | StartSaga | SignalSaga,
            Field(discriminator="kind", description="A task, a saga, or a saga that waits."),
        ],
        agreed: Annotated[Consent, Resolve(agree_to_replace)],
        where: Annotated[
            dict[str, JsonValue],
            Field(description="Paths in the payload, and the value each must have, or a list."),
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        confirmation: Confirmation = None,
    ) -> RuleList:
        """Add a rule, or replace the one of its name; a signal starts every rule that matches."""
        await signals.add_rule(SignalRule(name=name, pattern=pattern, where=where, target=target))
        return await _rules(runtime)

    @server.tool(title="List the rules for signals", annotations=reads)
    @teaching
    async def signal_list_rules() -> RuleList:
        """List the rules that decide what signals start, by name."""
        return await _rules(runtime)

    @server.tool(title="Remove a rule for signals", annotations=REPLACES)
    @teaching
    async def signal_remove_rule(
        name: Annotated[str, Field(description="Of the rule.")],
        agreed: Annotated[Consent, Resolve(agree_to_remove)],
        confirmation: Confirmation = None,
    ) -> RuleList:
        """Remove a rule and return those that are left."""
        await signals.remove_rule(name)
        return await _rules(runtime)

    @server.tool(title="List signals nothing wanted", annotations=reads)
    @teaching
    async def signal_list_unrouted(
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
    ) -> SignalList:
        """List the signals that matched no rule, or could not start everything."""
        found = await signals.list_unrouted(limit)
        return SignalList(signals=[view_signal(signal) for signal in found])

    @server.tool(title="Route a signal again", annotations=SETS)
    @teaching
    async def signal_route_again(
        signal_id: Annotated[str, Field(description="As returned by signal_publish.")],
    ) -> SignalView:
        """Apply the present rules to a kept signal; what it has started is not started again."""
        return view_signal(await signals.route_again(signal_id))
