"""The spans of a saga: one around the whole, one for each start of a step or compensation."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from opentelemetry.trace import INVALID_SPAN, Span

from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.events import SagaEvent
from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.telemetry.tracing import Attributes, Place, Tracing, place_of


class SagaTraces:
    """Records what happens to sagas, so that a killed runner leaves no gap.

    Args:
        tracing: makes the spans.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def attempt(self, record: SagaRecord, index: int) -> AbstractContextManager[Span]:
        """Record a block as the present start of a step, or of its compensation."""
        if not self._tracing.is_on:
            return nullcontext(INVALID_SPAN)
        place, name, attributes = _start_of(record, index)
        return self._tracing.span(name, attributes, place=place)

    def cut_off(self, record: SagaRecord, index: int, now: datetime) -> None:
        """Record a start whose runner died: what it had done already hangs below it."""
        if not self._tracing.is_on:
            return
        place, name, attributes = _start_of(record, index)
        started = record.progress.steps[index].started_at or now
        why = "its runner stopped"
        self._tracing.record(name, place, attributes, started=started, ended=now, error=why)

    def written(self, record: SagaRecord, events: Sequence[SagaEvent]) -> None:
        """Record the whole saga, once its end is on disk."""
        if not self._tracing.is_on or not record.progress.state.is_finished:
            return
        if not any(event.at == record.progress.finished_at for event in events):
            return  # what was written has come after its end
        state = record.progress.state
        error = None if state is SagaState.COMPLETED else record.progress.error or state.value
        self._tracing.record(
            f"saga {record.definition.name}",
            _place_of_saga(record),
            {**_ids(record), "saga.state": state.value},
            started=record.row["started_at"],
            ended=record.progress.finished_at or record.row["started_at"],
            error=error,
        )


def _place_of_saga(record: SagaRecord) -> Place:
    return place_of(record.saga_id, record.row.get("traceparent"))


def _start_of(record: SagaRecord, index: int) -> tuple[Place, str, Attributes]:
    """Return place, name and attributes of what a step is doing."""
    step = record.progress.steps[index]
    backward = step.state is StepState.COMPENSATING
    verb = "compensation" if backward else "step"
    attempt = step.compensation_attempts if backward else step.attempts
    seed = f"{verb}/{index}/{step.repetition}/{step.rewinds}/{attempt}"
    attributes: Attributes = {**_ids(record), "saga.step": step.name, "saga.attempt": attempt}
    return _place_of_saga(record).below(seed), f"{verb} {step.name}", attributes


def _ids(record: SagaRecord) -> Attributes:
    return {"saga.id": record.saga_id, "enduser.id": record.user_id}
