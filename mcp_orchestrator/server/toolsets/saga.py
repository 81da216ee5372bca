"""Tools of the saga engine: several steps that finish, or undo themselves."""

from datetime import datetime
from typing import Annotated, cast

from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mcp_orchestrator.runtime import Runtime
from mcp_orchestrator.saga import (
    AuditEvent,
    JsonObject,
    SagaDefinition,
    SagaState,
    SagaView,
    parse_definition,
)
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.waiting import (
    ASK_AGAIN_AFTER,
    ToolContext,
    WaitSeconds,
    follow_saga,
)

_ENDED = (SagaState.COMPLETED, SagaState.FAILED, SagaState.ABORTED)


class StepSpec(BaseModel):
    """One step of a saga."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Unique within the saga.")
    action: str = Field(description="A registered action, such as `travel.reserve_hotel`.")
    arguments: dict[str, JsonValue] = Field(
        default={},
        description='The action\'s arguments. {"$ref": "input.KEY"} and'
        ' {"$ref": "steps.NAME.result.KEY"} are replaced by earlier values.',
    )
    compensation: str | None = Field(
        default=None, description="The action that undoes it; by default the one it declares."
    )
    timeout: float | None = Field(default=None, gt=0, description="Seconds for one attempt.")


class StepReport(BaseModel):
    """One step as it stands."""

    name: str
    state: str
    attempts: int
    result: JsonValue = None
    error: str | None


class SagaReport(BaseModel):
    """A saga as a client sees it."""

    saga_id: str
    saga_type: str
    state: SagaState
    steps: list[StepReport]
    error: str | None
    started_at: datetime
    updated_at: datetime
    needs_person: list[JsonValue] = Field(description="Compensations that failed for good.")
    audit: list[str] | None = Field(default=None, description="One line an event, oldest first.")
    resource: str = Field(description="Where the whole saga and its audit can be read.")
    next: str = Field(description="What to do now.")


def view_saga(view: SagaView, audit: list[AuditEvent] | None = None) -> SagaReport:
    """Show a saga to a client."""
    ended = view.state in _ENDED
    again = f"Call saga_get with this saga_id again in {ASK_AGAIN_AFTER:.0f} s."
    return SagaReport(
        saga_id=view.saga_id,
        saga_type=view.saga_type,
        state=view.state,
        steps=[
            StepReport(
                name=step.name,
                state=step.state,
                attempts=step.attempts,
                result=step.result,
                error=step.error,
            )
            for step in view.steps
        ],
        error=view.error,
        started_at=view.started_at,
        updated_at=view.updated_at,
        needs_person=cast("list[JsonValue]", list(view.needs_person)),
        audit=[describe_event(event) for event in audit] if audit is not None else None,
        resource=f"saga://{view.saga_id}",
        next="The saga has ended." if ended else again,
    )


def describe_event(event: AuditEvent) -> str:
    """Return one line on an audit event."""
    parts = [f"{event.sequence:>3}", event.timestamp.isoformat(timespec="milliseconds")]
    parts.append(event.event_type)
    if event.step_name:
        parts.append(event.step_name)
    if event.state_before and event.state_before != event.state_after:
        parts.append(f"{event.state_before} → {event.state_after}")
    message = event.event_data.get("message") or event.error_message
    if message:
        parts.append(f"({message})")
    return " ".join(parts)


def read_definition(runtime: Runtime, name: str, steps: list[StepSpec]) -> SagaDefinition:
    """Check a definition and turn it into the engine's.

    Raises:
        InvalidInputError: with the JSON path of what is wrong.
    """
    written: list[JsonValue] = []
    for index, step in enumerate(steps):
        path = f"$.steps[{index}]"
        runtime.registry.check_step(step.action, step.arguments, f"{path}.arguments")
        compensation = step.compensation or runtime.registry.compensation_of(step.action)
        as_json: JsonObject = {"name": step.name, "action": step.action}
        as_json["arguments"] = step.arguments
        if compensation is not None:
            as_json["compensation"] = compensation
        if step.timeout is not None:
            as_json["timeout"] = step.timeout
        written.append(as_json)
    return parse_definition({"name": name, "steps": written}, runtime.registry)


def register(server: MCPServer[None], runtime: Runtime) -> None:
    """Add the tools to a server."""

    @server.tool(
        title="Start a saga",
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
        ),
    )
    @teaching
    async def saga_start(
        name: Annotated[
            str, Field(min_length=1, max_length=200, description="Its type, for people.")
        ],
        steps: Annotated[list[StepSpec], Field(min_length=1, max_length=200)],
        context: ToolContext,
        input: Annotated[  # noqa: A002 - the word that references use
            dict[str, JsonValue], Field(description="Values that steps refer to as input.KEY.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        idempotency_key: Annotated[
            str | None, Field(description="The same key returns the saga it started before.")
        ] = None,
        wait_seconds: WaitSeconds = 0,
    ) -> SagaReport:
        """Run registered actions in order; if one fails, undo the finished ones in reverse.

        Every step is on disk before its effect and survives a crash of the server. An unknown
        action is answered with the list of those there are. Read the outcome with saga_get. For
        one piece of background work without undo use queue_add_task.
        """
        definition = read_definition(runtime, name, steps)
        view = await runtime.sagas.start(
            definition,
            input,
            idempotency_key=f"saga:{idempotency_key}" if idempotency_key else None,
        )
        if wait_seconds > 0:
            view = await follow_saga(runtime.sagas, view.saga_id, wait_seconds, context)
        return view_saga(view)

    @server.tool(
        title="Look at a saga",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    @teaching
    async def saga_get(
        saga_id: Annotated[str, Field(description="As returned by saga_start or loop_start.")],
        context: ToolContext,
        wait_seconds: WaitSeconds = 0,
        include_audit: Annotated[bool, Field(description="Add the audit trail.")] = False,
    ) -> SagaReport:
        """Read a saga's state, steps, error and, if asked, audit trail; can wait for its end."""
        if wait_seconds > 0:
            view = await follow_saga(runtime.sagas, saga_id, wait_seconds, context)
        else:
            view = await runtime.sagas.get(saga_id)
        audit = await runtime.sagas.audit(saga_id) if include_audit else None
        return view_saga(view, audit)
