"""What Prometheus sees of the sagas: one observer of everything that the journal has written."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.states import SagaState, StepState

#: Label values come from users; beyond so many of a kind the rest are called ``other``.
MOST_VALUES = 200

#: And no metric has more children than this, however the values of its labels combine.
MOST_CHILDREN = 1000

#: Seconds; a saga may take milliseconds or days.
_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800, 3600, 86400)


M = TypeVar("M", Counter, Gauge, Histogram)


#: Labels whose values are ours, and few.
_OURS = frozenset({"status", "event_type", "failure_reason"})


class Labelled(Generic[M]):
    """A metric that keeps its children: looking one up costs more than counting.

    Args:
        metric: the metric.
        labels: the names of its labels.
    """

    def __init__(self, metric: M, labels: Sequence[str]) -> None:
        self._metric = metric
        self._labels = labels
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *values: str) -> M:
        """Return the child with these label values, or, once there are many, with ``other``."""
        child = self._children.get(values)
        if child is not None:
            return child
        if len(self._children) >= MOST_CHILDREN:
            named = zip(self._labels, values, strict=True)
            return self._metric.labels(*(v if name in _OURS else "other" for name, v in named))
        child = self._children[values] = self._metric.labels(*values)
        return child


class Bounded:
    """Keeps the first values of a label and calls every further one ``other``."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the value, or ``other``."""
        if value not in self._seen:
            if len(self._seen) >= self._most:
                return "other"
            self._seen.add(value)
        return value


class SagaMetrics:
    """The saga metrics of one process.

    Args:
        registry: where they are registered; one set for each registry.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._types, self._steps, self._errors = Bounded(), Bounded(), Bounded()

        def counter(name: str, text: str, *labels: str) -> Labelled[Counter]:
            return Labelled(Counter(name, text, labels, registry=registry), labels)

        def histogram(name: str, text: str, *labels: str) -> Labelled[Histogram]:
            metric = Histogram(name, text, labels, registry=registry, buckets=_BUCKETS)
            return Labelled(metric, labels)

        kind, step = "saga_type", "step_name"
        self.started = counter("saga_started", "Sagas started.", kind)
        self.completed = counter("saga_completed", "Sagas completed.", kind)
        self.failed = counter("saga_failed", "Sagas failed.", kind, "failure_reason")
        self.aborted = counter("saga_aborted", "Sagas aborted.", kind)
        self.running = Labelled(
            Gauge("saga_running_current", "Sagas running here.", [kind], registry=registry), [kind]
        )
        self.duration = histogram("saga_duration_seconds", "From start to end.", kind, "status")
        self.step_executed = counter("saga_step_executed", "Steps completed.", kind, step)
        self.step_failed = counter("saga_step_failed", "Steps failed.", kind, step, "error_type")
        self.step_retry = counter("saga_step_retry", "Steps repeated.", kind, step)
        self.step_duration = histogram(
            "saga_step_duration_seconds", "One attempt of a step.", kind, step, "status"
        )
        self.compensation_executed = counter(
            "saga_compensation_executed", "Compensations completed.", kind, step
        )
        self.compensation_failed = counter(
            "saga_compensation_failed", "Compensations given up.", kind, step, "error_type"
        )
        self.compensation_duration = histogram(
            "saga_compensation_duration_seconds", "One attempt to undo.", kind, step, "status"
        )
        self.saved = counter("saga_checkpoint_saved", "Checkpoints written.", kind)
        self.loaded = counter("saga_checkpoint_loaded", "Sagas taken over or woken.", kind)
        self.save_duration = histogram(
            "saga_checkpoint_save_duration_seconds", "Until a checkpoint is on disk.", kind
        )
        self.audit_written = counter(
            "saga_audit_log_written", "Audit events written.", kind, "event_type"
        )
        self.audit_duration = histogram(
            "saga_audit_log_write_duration_seconds", "Until an event is on disk.", "event_type"
        )
        self._handlers: dict[EventType, Callable[[SagaRecord, SagaEvent], None]] = {
            EventType.SAGA_START: self._on_start,
            EventType.SAGA_COMPLETE: self._on_end,
            EventType.SAGA_FAILED: self._on_end,
            EventType.SAGA_ABORTED: self._on_end,
            EventType.ABORT_REQUESTED: self._on_abort,
            EventType.STEP_COMPLETE: self._on_step,
            EventType.STEP_FAILED: self._on_step,
            EventType.STEP_RETRY: self._on_step,
            EventType.COMPENSATION_COMPLETE: self._on_compensation,
            EventType.COMPENSATION_FAILED: self._on_compensation,
        }

    def written(self, record: SagaRecord, events: Sequence[SagaEvent], seconds: float) -> None:
        """Count what has been written.

        Args:
            record: the saga after the events.
            events: what happened.
            seconds: until it was on disk.
        """
        kind = self._types(record.definition.name)
        self.saved(kind).inc()
        self.save_duration(kind).observe(seconds)
        for event in events:
            self.audit_written(kind, event.type.value).inc()
            self.audit_duration(event.type.value).observe(seconds)
            handler = self._handlers.get(event.type)
            if handler is not None:
                handler(record, event)

    def taken(self, record: SagaRecord) -> None:
        """Count a saga that was read from disk to go on with it here."""
        self.loaded(self._types(record.definition.name)).inc()

    def runs_here(self, saga_type: str, change: int) -> None:
        """Count a saga that begins (+1) or stops (-1) running in this process."""
        self.running(self._types(saga_type)).inc(change)

    def _on_start(self, record: SagaRecord, _event: SagaEvent) -> None:
        self.started(self._types(record.definition.name)).inc()

    def _on_end(self, record: SagaRecord, event: SagaEvent) -> None:
        kind, state = self._types(record.definition.name), record.progress.state
        if state is SagaState.COMPLETED:
            self.completed(kind).inc()
        elif state is SagaState.ABORTED:
            self.aborted(kind).inc()
        else:
            self.failed(kind, _failure_reason(record)).inc()
        started = record.row.get("started_at")
        if started is not None:
            seconds = (event.at - started).total_seconds()
            self.duration(kind, state.value).observe(seconds)

    def _on_abort(self, record: SagaRecord, event: SagaEvent) -> None:
        if record.progress.finished_at == event.at:  # without compensation it is the end
            self._on_end(record, event)

    def _on_step(self, record: SagaRecord, event: SagaEvent) -> None:
        kind, step = self._names(record, event)
        error = self._errors(str(event.data.get("error_type", "unknown")))
        if event.type is EventType.STEP_COMPLETE:
            self.step_executed(kind, step).inc()
        elif event.type is EventType.STEP_RETRY:
            self.step_retry(kind, step).inc()
        else:
            self.step_failed(kind, step, error).inc()
        if event.duration_ms is not None:
            status = event.type.value.removeprefix("step_")
            self.step_duration(kind, step, status).observe(event.duration_ms / 1000)

    def _on_compensation(self, record: SagaRecord, event: SagaEvent) -> None:
        kind, step = self._names(record, event)
        if event.type is EventType.COMPENSATION_COMPLETE:
            self.compensation_executed(kind, step).inc()
        else:
            error = self._errors(str(event.data.get("error_type", "unknown")))
            self.compensation_failed(kind, step, error).inc()
        if event.duration_ms is not None:
            status = event.type.value.removeprefix("compensation_")
            labelled = self.compensation_duration(kind, step, status)
            labelled.observe(event.duration_ms / 1000)

    def _names(self, record: SagaRecord, event: SagaEvent) -> tuple[str, str]:
        step = record.definition.steps[event.step or 0].name
        return self._types(record.definition.name), self._steps(step)


def _failure_reason(record: SagaRecord) -> str:
    """Say in one of three words why a saga failed."""
    if record.progress.needs_person:
        return "compensation_failed"
    failed = [s for s in record.progress.steps if s.state is StepState.FAILED]
    return "step_failed" if failed else "other"
