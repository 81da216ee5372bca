"""Sagas over HTTP: search, timeline, audit with its verification."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.saga import AuditEvent, SagaState, SagaView, explain
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.toolsets.saga_views import SagaSummary, summarise_saga
from mcp_orchestrator.web.endpoint import Endpoint, endpoint


class AskSagas(BaseModel):
    """Which sagas are listed."""

    state: SagaState | None = None
    saga_type: str | None = None
    error: Annotated[str | None, Field(description="Only with this text in their error.")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class Sagas(BaseModel):
    """Sagas, the latest changed first."""

    sagas: list[SagaSummary]


class AskSaga(BaseModel):
    """One saga."""

    saga_id: str


class Step(BaseModel):
    """One step of the timeline."""

    name: str
    state: str
    attempts: int
    compensation_attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    result: JsonValue = None
    error: str | None


class SagaDetail(BaseModel):
    """One saga as it stands, and why."""

    saga_id: str
    saga_type: str
    version: str
    state: SagaState
    owner: str | None
    parent_saga_id: str | None
    steps: list[Step]
    input: dict[str, JsonValue]
    error: str | None
    needs_person: list[dict[str, JsonValue]]
    held_reason: str | None
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    why: str
    next: str
    advice: str


class AskAudit(AskSaga):
    """Which events."""

    after: Annotated[int, Field(ge=0, description="Only events with a higher number.")] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class AuditLine(BaseModel):
    """One event of a saga's history."""

    sequence: int
    at: datetime
    event: str
    step: str | None
    state_before: SagaState
    state_after: SagaState
    duration_ms: float | None
    error: str | None
    data: dict[str, JsonValue]
    user: str | None
    runner: str
    hash: str


class Audit(BaseModel):
    """A part of a saga's history, oldest first."""

    saga_id: str
    events: list[AuditLine]
    after: Annotated[int, Field(description="Pass it as `after` to read on.")]


class Verification(BaseModel):
    """Whether a saga's history is what was written."""

    saga_id: str
    intact: bool
    faults: list[str]


def saga_endpoints(workspace: Workspace) -> list[Endpoint]:
    """Return the endpoints."""
    sagas = workspace.sagas

    async def search(asked: AskSagas) -> Sagas:
        found = await sagas.list_sagas(asked.state, asked.saga_type, asked.limit, error=asked.error)
        return Sagas(sagas=[summarise_saga(view) for view in found])

    async def one(asked: AskSaga) -> SagaDetail:
        return saga_detail(await sagas.get(asked.saga_id))

    async def audit(asked: AskAudit) -> Audit:
        events = await sagas.audit(asked.saga_id, after=asked.after, limit=asked.limit)
        return _page(asked, events)

    async def verification(asked: AskSaga) -> Verification:
        faults = await sagas.verify_audit(asked.saga_id)
        named = [f"event {fault.sequence}: {fault.what}" for fault in faults]
        return Verification(saga_id=asked.saga_id, intact=not faults, faults=named)

    return [
        endpoint("GET", "/sagas", "Search sagas, the latest changed first.",
                 toolset="saga", asks=AskSagas, answers=Sagas, handle=search),
        endpoint("GET", "/sagas/{saga_id}", "One saga: its steps, and why it stands where it does.",
                 toolset="saga", asks=AskSaga, answers=SagaDetail, handle=one),
        endpoint("GET", "/sagas/{saga_id}/audit", "Its history, oldest first.",
                 toolset="saga", asks=AskAudit, answers=Audit, handle=audit),
        endpoint("GET", "/sagas/{saga_id}/verification", "Recompute the hash chain of its history.",
                 toolset="saga", asks=AskSaga, answers=Verification, handle=verification),
    ]  # fmt: skip


def saga_detail(view: SagaView) -> SagaDetail:
    """Show a saga with its timeline."""
    told = explain(view)
    return SagaDetail(
        saga_id=view.saga_id,
        saga_type=view.saga_type,
        version=view.version,
        state=view.state,
        owner=view.user_id,
        parent_saga_id=view.parent_saga_id,
        steps=[
            Step(
                name=step.name,
                state=step.state,
                attempts=step.attempts,
                compensation_attempts=step.compensation_attempts,
                started_at=step.started_at,
                finished_at=step.finished_at,
                result=step.result,
                error=step.error,
            )
            for step in view.steps
        ],
        input=view.input,
        error=view.error,
        needs_person=view.needs_person,
        held_reason=view.held_reason,
        started_at=view.started_at,
        updated_at=view.updated_at,
        finished_at=view.finished_at,
        why=told.why,
        next=told.next,
        advice=told.advice,
    )


def _page(asked: AskAudit, events: Sequence[AuditEvent]) -> Audit:
    lines = [
        AuditLine(
            sequence=event.sequence,
            at=event.timestamp,
            event=event.event_type.value,
            step=event.step_name,
            state_before=event.state_before,
            state_after=event.state_after,
            duration_ms=event.duration_ms,
            error=event.error_message,
            data=event.event_data,
            user=event.user_id,
            runner=event.runner_id,
            hash=event.hash,
        )
        for event in events
    ]
    last = events[-1].sequence if events else asked.after
    return Audit(saga_id=asked.saga_id, events=lines, after=last)
