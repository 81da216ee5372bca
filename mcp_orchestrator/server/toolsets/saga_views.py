"""Sagas and their events as clients see them."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import cast

from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.saga import AuditEvent, SagaState, SagaView
from mcp_orchestrator.server.owned.sagas import OwnedSagas
from mcp_orchestrator.server.waiting import ASK_AGAIN_AFTER

_ENDED = (SagaState.COMPLETED, SagaState.FAILED, SagaState.ABORTED)


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


class SagaSummary(BaseModel):
    """A saga in a list."""

    saga_id: str
    saga_type: str
    state: SagaState
    step: str = Field(description="The first step that is not done.")
    error: str | None
    needs_person: bool
    started_at: datetime
    updated_at: datetime


def summarise_saga(view: SagaView) -> SagaSummary:
    """Show a saga in a list."""
    return SagaSummary(
        saga_id=view.saga_id, saga_type=view.saga_type, state=view.state,
        step=view.steps[view.current_step_index].name, error=view.error,
        needs_person=bool(view.needs_person), started_at=view.started_at,
        updated_at=view.updated_at,
    )  # fmt: skip


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


async def whole_trail(sagas: OwnedSagas, saga_id: str) -> str:
    """Return a saga's audit trail as JSON Lines."""
    lines: list[str] = []
    after = 0
    while page := await sagas.audit(saga_id, after=after):
        lines += [json.dumps(asdict(event), default=str, ensure_ascii=False) for event in page]
        after = page[-1].sequence
    return "".join(f"{line}\n" for line in lines)
