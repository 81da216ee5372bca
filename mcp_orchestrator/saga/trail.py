"""What events make of a saga: how far it is then, and the rows of its audit trail."""

from collections.abc import Iterable

from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.evolution import evolve
from mcp_orchestrator.saga.progress import SagaProgress
from mcp_orchestrator.saga.redaction import Redactor, redactor_of
from mcp_orchestrator.saga.values import JsonValue
from mcp_orchestrator.store.audit import seal_columns
from mcp_orchestrator.store.canonical import CanonicalText, canonical_json, clean_text
from mcp_orchestrator.store.chain import event_hash

#: An audit event holds no more of a value than this, in characters of JSON.
LONGEST_EVENT_DATA = 16_384

#: After these the audit trail keeps a copy of the context.
_SNAPSHOTS = frozenset(
    {
        EventType.SAGA_START,
        EventType.SAGA_COMPLETE,
        EventType.SAGA_FAILED,
        EventType.SAGA_ABORTED,
    }
)

#: A saga that got on, or that a person has looked at, is not suspected of killing its runners.
_CLEARS_TAKEOVERS = frozenset(
    {
        EventType.STEP_COMPLETE,
        EventType.COMPENSATION_COMPLETE,
        EventType.RELEASED,
        EventType.MANUAL_RETRY,
        EventType.MANUAL_COMPENSATE,
        EventType.MANUAL_REWIND,
    }
)


class Trail:
    """A saga's events that are about to be written together.

    Attributes:
        progress: how far the saga is after the events added so far.
        events: these events.
        rows: their rows, each chained to the one before.

    Args:
        record: the saga before them.
        runner_id: who writes them.
    """

    def __init__(self, record: SagaRecord, runner_id: str) -> None:
        self.progress = record.progress
        self.events: list[SagaEvent] = []
        self.rows: list[dict[str, object]] = []
        self._record = record
        self._runner_id = runner_id
        self._redactor = redactor_of(record.definition.redact)
        self._sequence = record.sequence
        self._head = record.head

    def add(self, events: Iterable[SagaEvent]) -> None:
        """Add events, in order.

        Raises:
            ConflictError: the saga's state does not allow one.
        """
        for event in events:
            before, self.progress = self.progress, evolve(self.progress, event)
            self._sequence += 1
            row = self._row(event, before, self.progress)
            if self._record.cipher is not None:
                seal_columns(row, self._record.cipher)
            row["hash"] = self._head = event_hash(self._head, row)
            self.rows.append(row)
            self.events.append(event)

    def record(self) -> SagaRecord:
        """Return the saga as the events leave it."""
        takeovers = self._record.takeovers
        if takeovers and any(event.type in _CLEARS_TAKEOVERS for event in self.events):
            takeovers = 0
        return self._record._replace(
            progress=self.progress,
            sequence=self._sequence,
            head=self._head,
            takeovers=takeovers,
        )

    def _row(
        self, event: SagaEvent, before: SagaProgress, after: SagaProgress
    ) -> dict[str, object]:
        record, redactor, index = self._record, self._redactor, event.step
        snapshot = _short(redactor.value(after.context)) if event.type in _SNAPSHOTS else None
        return {
            "saga_id": record.saga_id,
            "sequence": self._sequence,
            "event_type": str(event.type),
            "step_name": after.steps[index].name if index is not None else None,
            "step_index": index,
            "event_data": _short(redactor.value(event.data)),
            "context_snapshot": snapshot,
            "error_message": _clean(redactor, event.error),
            "error_stack_trace": _clean(redactor, event.stack),
            "timestamp": event.at,
            "duration_ms": event.duration_ms,
            "user_id": record.user_id,
            "ip_address": record.ip_address,
            "saga_state_before": str(before.state),
            "saga_state_after": str(after.state),
            "retry_count": after.retries,
            "runner_id": self._runner_id,
            "epoch": record.epoch,
        }


def _clean(redactor: Redactor, text: str | None) -> str | None:
    return clean_text(redactor.text(text)) if text else None


def _short(value: JsonValue) -> CanonicalText:
    """Cap what an audit event holds; the whole is in the checkpoint."""
    text = canonical_json(value)
    if len(text) > LONGEST_EVENT_DATA:
        text = canonical_json({"truncated": True, "characters": len(text), "head": text[:1000]})
    return CanonicalText(text)
