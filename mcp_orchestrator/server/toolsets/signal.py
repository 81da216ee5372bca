"""Tools of signals and schedules: what happened outside, and what the clock starts."""

from datetime import datetime
from typing import Annotated

from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.queue.signals import Outcome, Signal, SignalStatus
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching


class SignalView(BaseModel):
    """A signal and what became of it."""

    signal_id: str
    name: str
    status: SignalStatus
    received_at: datetime
    outcomes: list[Outcome] = Field(description="What each matching rule started.")
    next: str = Field(description="What to do now.")


_NEXT = {
    SignalStatus.RECEIVED: "Publish it again with the same signal_id.",
    SignalStatus.ROUTED: "Read the tasks with queue_get_task and the sagas with saga_get.",
    SignalStatus.UNROUTED: "No rule matched; it is kept until a rule is added for it.",
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


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""

    @server.tool(
        title="Publish a signal",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=False,
        ),
    )
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
