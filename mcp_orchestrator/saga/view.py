"""What a caller sees of a saga and of its history."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from mcp_orchestrator.saga.checkpoint import FAR_FUTURE, progress_of
from mcp_orchestrator.saga.events import EventType
from mcp_orchestrator.saga.planning import result_of
from mcp_orchestrator.saga.progress import SagaProgress
from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.store.audit import open_columns
from mcp_orchestrator.store.sealing import Cipher


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a saga; the fields are those of ``StepProgress``, and what it returned."""

    name: str
    state: StepState
    attempts: int
    result: JsonValue
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    wake_at: datetime | None
    compensation_attempts: int
    compensation_error: str | None


@dataclass(frozen=True, slots=True)
class SagaView:
    """A saga as it is on disk.

    Attributes:
        saga_id: its id.
        saga_type: the name of its definition.
        version: the version of its definition.
        definition_hash: SHA-256 of its definition.
        definition: the definition as JSON.
        state: where it stands.
        current_step_index: the first step that is not done.
        total_steps: how many there are.
        steps: each of them.
        completed_steps: names of those that are done and not undone.
        compensated_steps: names of those that were undone.
        input: what it was started with.
        results: what its steps returned, by name.
        output: what the last step returned, once it is completed.
        error: why it failed, compensates or was aborted.
        needs_person: what a person must put right, one object for each thing.
        held_reason: why nobody goes on with it until a person says so.
        retries: how many starts of actions were repetitions.
        started_at: when it was written down.
        updated_at: when it changed last.
        finished_at: when it finished.
        wake_at: until when it sleeps at the most; none if only a message wakes it.
        user_id: for whom it runs.
        idempotency_key: the key it was started with.
        parent_saga_id: the saga it is a part of.
        lease_owner: the runner that holds it now.
        epoch: how often it changed hands.
        takeovers: how many runners in a row died with it.
    """

    saga_id: str
    saga_type: str
    version: str
    definition_hash: str
    definition: JsonObject
    state: SagaState
    current_step_index: int
    total_steps: int
    steps: list[StepView]
    completed_steps: list[str]
    compensated_steps: list[str]
    input: JsonObject
    results: JsonObject
    output: JsonValue
    error: str | None
    needs_person: list[JsonObject]
    held_reason: str | None
    retries: int
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    wake_at: datetime | None
    user_id: str | None
    idempotency_key: str | None
    parent_saga_id: str | None
    lease_owner: str | None
    epoch: int
    takeovers: int

    @property
    def is_settled(self) -> bool:
        """Tell whether it is finished, or held until a person decides."""
        return self.state.is_finished or self.held_reason is not None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of a saga's history.

    Attributes:
        sequence: its number within the saga, from 1; pass it as ``after`` to read on.
        saga_id: the saga.
        event_type: what happened.
        step_name: to which step.
        step_index: its index.
        event_data: what the type needs, without secrets.
        context_snapshot: the saga's input and results at its start and end, without secrets.
        error_message: what failed.
        error_stack_trace: where.
        timestamp: when, in UTC.
        duration_ms: how long it took, in milliseconds.
        user_id: for whom the saga runs.
        ip_address: from where it was started.
        state_before: the saga's state before.
        state_after: and after.
        retry_count: how many repetitions the saga has seen by then.
        runner_id: the process that wrote it.
        epoch: under which epoch of the lease.
        hash: SHA-256 over this event and the hash of the one before.
    """

    sequence: int
    saga_id: str
    event_type: EventType
    step_name: str | None
    step_index: int | None
    event_data: JsonObject
    context_snapshot: JsonObject | None
    error_message: str | None
    error_stack_trace: str | None
    timestamp: datetime
    duration_ms: float | None
    user_id: str | None
    ip_address: str | None
    state_before: SagaState
    state_after: SagaState
    retry_count: int
    runner_id: str
    epoch: int
    hash: str


def saga_view(
    row: Mapping[Any, Any], progress: SagaProgress | None = None, cipher: Cipher | None = None
) -> SagaView:
    """Make a view of a saga's row.

    Args:
        row: the row with its definition's ``body``.
        progress: what the row says, where it has been read already.
        cipher: what opens it otherwise; none for a saga in plain text.
    """
    progress = progress or progress_of(row, cipher)
    steps = [
        StepView(
            step.name, step.state, step.attempts, result_of(progress, step.name).get("result"),
            step.error, step.started_at, step.finished_at, step.wake_at,
            step.compensation_attempts, step.compensation_error,
        )
        for step in progress.steps
    ]  # fmt: skip
    given = progress.context["input"]
    return SagaView(
        saga_id=row["saga_id"],
        saga_type=row["saga_type"],
        version=row["version"],
        definition_hash=row["definition_hash"],
        definition=row["body"],
        state=progress.state,
        current_step_index=row["current_step_index"],
        total_steps=row["total_steps"],
        steps=steps,
        completed_steps=row["completed_steps"],
        compensated_steps=row["compensated_steps"],
        input=given if isinstance(given, dict) else {},
        results={step.name: step.result for step in steps if result_of(progress, step.name)},
        output=steps[-1].result if progress.state is SagaState.COMPLETED else None,
        error=progress.error,
        needs_person=list(progress.needs_person),
        held_reason=progress.held_reason,
        retries=row["retries"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
        wake_at=row["wake_at"] if row["wake_at"] != FAR_FUTURE else None,
        user_id=row["user_id"],
        idempotency_key=row["idempotency_key"],
        parent_saga_id=row["parent_saga_id"],
        lease_owner=row["lease_owner"],
        epoch=row["epoch"],
        takeovers=row["takeovers"],
    )


def audit_event(row: Mapping[Any, Any], cipher: Cipher | None = None) -> AuditEvent:
    """Make a view of an audit row.

    Args:
        row: the row.
        cipher: what opens it; none for a saga in plain text.
    """
    if cipher is not None:
        row = {**row, **open_columns(row, cipher)}
    return AuditEvent(
        sequence=row["sequence"],
        saga_id=row["saga_id"],
        event_type=EventType(row["event_type"]),
        step_name=row["step_name"],
        step_index=row["step_index"],
        event_data=row["event_data"],
        context_snapshot=row["context_snapshot"],
        error_message=row["error_message"],
        error_stack_trace=row["error_stack_trace"],
        timestamp=row["timestamp"],
        duration_ms=row["duration_ms"],
        user_id=row["user_id"],
        ip_address=row["ip_address"],
        state_before=SagaState(row["saga_state_before"]),
        state_after=SagaState(row["saga_state_after"]),
        retry_count=row["retry_count"],
        runner_id=row["runner_id"],
        epoch=row["epoch"],
        hash=row["hash"],
    )
