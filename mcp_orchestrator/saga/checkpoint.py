"""A saga's progress as the columns of its row, and back."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.saga.progress import SagaProgress, StepProgress
from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.saga.values import JsonObject, JsonValue
from mcp_orchestrator.store.canonical import canonical_json
from mcp_orchestrator.store.sealing import Cipher

#: Until when a saga sleeps that only a message wakes.
FAR_FUTURE = datetime.fromisoformat("9999-12-31T00:00:00+00:00")


#: The place that a sealed context is bound to.
_CONTEXT = "context"


class SagaRecord(NamedTuple):
    """A saga as its runner holds it in memory: what is on disk, and the right to write more.

    Attributes:
        saga_id: the saga.
        definition: what it runs.
        progress: how far it is.
        user_id: for whom.
        ip_address: from where it was started.
        epoch: the epoch of the lease.
        sequence: the number of its last audit event.
        head: the hash of its last audit event.
        takeovers: how many runners in a row died with it before a step completed.
        cipher: what seals its data; none for a saga in plain text.
        row: its row, as a reader finds it on disk.
    """

    saga_id: str
    definition: SagaDefinition
    progress: SagaProgress
    user_id: str | None
    ip_address: str | None
    epoch: int
    sequence: int
    head: str
    takeovers: int = 0
    cipher: Cipher | None = None
    row: Mapping[str, Any] = MappingProxyType({})

    def __repr__(self) -> str:
        """Show whose record it is, and nothing of what may be secret."""
        return f"SagaRecord({self.saga_id!r}, epoch={self.epoch}, sequence={self.sequence})"

    def idempotency_key(self, index: int) -> str:
        """Return a step's idempotency key: the same until the step was undone and runs anew."""
        step = self.progress.steps[index]
        again = f":{step.repetition}" if step.repetition else ""
        return f"{self.saga_id}:{step.name}{again}"


def checkpoint_columns(record: SagaRecord, now: datetime) -> dict[str, object]:
    """Return the columns that every checkpoint writes."""
    progress = record.progress
    return {
        "state": str(progress.state),
        "goal": str(progress.goal),
        "current_step_index": current_step(progress),
        "steps": [_step_column(step) for step in progress.steps],
        "completed_steps": _names(progress, StepState.COMPLETED),
        "compensated_steps": _names(progress, StepState.COMPENSATED),
        "context": _sealed_context(record),
        "error": progress.error,
        "needs_person": list(progress.needs_person),
        "held_reason": progress.held_reason,
        "retries": progress.retries,
        "updated_at": now,
        "finished_at": progress.finished_at,
        "takeovers": record.takeovers,
        "audit_sequence": record.sequence,
        "audit_hash": record.head,
    }


def _names(progress: SagaProgress, state: StepState) -> list[JsonValue]:
    return [step.name for step in progress.steps if step.state is state]


def current_step(progress: SagaProgress) -> int:
    """Return the index of the first step that is not done; of the last when all are."""
    for index, step in enumerate(progress.steps):
        if step.state is not StepState.COMPLETED:
            return index
    return len(progress.steps) - 1


def _sealed_context(record: SagaRecord) -> JsonValue:
    context = record.progress.context
    if record.cipher is None:
        return context
    return record.cipher.seal_json(_CONTEXT, canonical_json(context))


def record_of(
    row: Mapping[Any, Any], definition: SagaDefinition, cipher: Cipher | None = None
) -> SagaRecord:
    """Read a saga from its row.

    Args:
        row: the row.
        definition: what it runs.
        cipher: what opens its data; none for a saga in plain text.
    """
    return SagaRecord(
        saga_id=row["saga_id"],
        definition=definition,
        progress=progress_of(row, cipher),
        user_id=row["user_id"],
        ip_address=row["ip_address"],
        epoch=row["epoch"],
        sequence=row["audit_sequence"],
        head=row["audit_hash"],
        takeovers=row["takeovers"],
        cipher=cipher,
        row=dict(row),
    )


def wake_at(progress: SagaProgress) -> datetime | None:
    """Return when the first of a saga's waits is over by itself."""
    return min((step.wake_at for step in progress.steps if step.wake_at), default=None)


def progress_of(row: Mapping[Any, Any], cipher: Cipher | None = None) -> SagaProgress:
    """Read a saga's progress from its row."""
    return SagaProgress(
        steps=tuple(_step(column) for column in row["steps"]),
        context=row["context"] if cipher is None else cipher.open_json(_CONTEXT, row["context"]),
        state=SagaState(row["state"]),
        goal=SagaState(row["goal"]),
        error=row["error"],
        needs_person=tuple(row["needs_person"]),
        held_reason=row["held_reason"],
        finished_at=row["finished_at"],
    )


_TIMES = {"started_at", "finished_at", "wake_at"}
#: Each field with its default, which a column leaves out.
_FIELDS = tuple(zip(StepProgress._fields, StepProgress(""), strict=True))
_UNTOUCHED = StepProgress("")[1:]


def _step_column(step: StepProgress) -> JsonObject:
    if step[1:] == _UNTOUCHED:
        return {"name": step.name}
    column: JsonObject = {}
    for (name, default), value in zip(_FIELDS, step, strict=True):
        if value is not default and value != default:
            column[name] = value.isoformat() if isinstance(value, datetime) else value
    return column


def _step(column: JsonObject) -> StepProgress:
    values: dict[str, Any] = {
        name: datetime.fromisoformat(cast("str", value)) if name in _TIMES else value
        for name, value in column.items()
    }
    values["state"] = StepState(_text(column.get("state"), StepState.PENDING))
    return StepProgress(**values)


def _text(value: JsonValue, otherwise: str) -> str:
    return value if isinstance(value, str) else otherwise
