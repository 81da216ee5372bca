"""How far a saga is, as a pure fold over its events.

``evolve`` says what an event makes of a saga; it is the only thing that changes a state, by the
table in ``states``. Folding a saga's audit trail therefore gives its checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.states import SagaState, StepState, move_saga, move_step
from mcp_orchestrator.saga.values import JsonObject, JsonValue
from mcp_orchestrator.saga.waits import signals_in


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far one step is.

    Attributes:
        name: the step's name.
        state: where it stands.
        attempts: how often its action was started.
        failures: how many of these ended in a technical error; a crash is none.
        error: its last error.
        started_at: when it was started first.
        finished_at: when it completed, failed or was compensated.
        wake_at: when its wait is over by itself.
        compensation_attempts: how often its compensation was started.
        compensation_failures: how many of these failed.
        compensation_error: the last error of the compensation.
    """

    name: str
    state: StepState = StepState.PENDING
    attempts: int = 0
    failures: int = 0
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    wake_at: datetime | None = None
    compensation_attempts: int = 0
    compensation_failures: int = 0
    compensation_error: str | None = None


@dataclass(frozen=True, slots=True)
class SagaProgress:
    """How far a saga is.

    Attributes:
        state: where it stands.
        goal: the finished state it is heading for.
        steps: each step, in the definition's order.
        context: ``{"input": …, "steps": {NAME: {"result": …}}}``, what references point into.
        error: why it compensates, failed or was aborted.
        needs_person: what a person must put right, one object for each thing.
        held_reason: why nobody goes on with it until a person says so.
        finished_at: when it finished.
    """

    steps: tuple[StepProgress, ...]
    context: JsonObject
    state: SagaState = SagaState.IDLE
    goal: SagaState = SagaState.COMPLETED
    error: str | None = None
    needs_person: tuple[JsonObject, ...] = field(default=())
    held_reason: str | None = None
    finished_at: datetime | None = None

    @property
    def retries(self) -> int:
        """How many starts of actions and compensations were repetitions."""
        return sum(
            max(step.attempts - 1, 0) + max(step.compensation_attempts - 1, 0)
            for step in self.steps
        )

    def in_flight(self) -> list[int]:
        """Return the indexes of the steps whose effect may be happening now."""
        return [index for index, step in enumerate(self.steps) if step.state.is_in_flight]


def begin(definition: SagaDefinition, input: JsonObject) -> SagaProgress:  # noqa: A002
    """Return the progress of a saga that was only just asked for."""
    steps = tuple(StepProgress(step.name) for step in definition.steps)
    return SagaProgress(steps, {"input": input, "steps": {}})


def evolve(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    """Return what an event makes of a saga.

    Raises:
        ConflictError: the present state does not allow the event.
    """
    change = _CHANGES.get(event.type)
    return progress if change is None else change(progress, event)


def _with_step(progress: SagaProgress, index: int, step: StepProgress) -> SagaProgress:
    steps = (*progress.steps[:index], step, *progress.steps[index + 1 :])
    return replace(progress, steps=steps)


def _step_of(progress: SagaProgress, event: SagaEvent) -> tuple[int, StepProgress]:
    if event.step is None:
        raise ValueError(f"a {event.type} event names its step")
    return event.step, progress.steps[event.step]


def _step_start(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    wake = event.data.get("wake_at")
    step = replace(
        step,
        state=move_step(step.state, StepState.EXECUTING),
        attempts=step.attempts + 1,
        started_at=step.started_at or event.at,
        wake_at=datetime.fromisoformat(wake) if isinstance(wake, str) else None,
    )
    running = replace(progress, state=move_saga(progress.state, SagaState.RUNNING))
    return _with_step(running, index, step)


def _step_retry(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    failed = event.error is not None
    step = replace(
        step,
        state=move_step(step.state, StepState.EXECUTING),
        attempts=step.attempts + 1,
        failures=step.failures + failed,
        error=event.error if failed else step.error,
    )
    return _with_step(progress, index, step)


def _step_complete(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    step = replace(
        step,
        state=move_step(step.state, StepState.COMPLETED),
        finished_at=event.at,
        wake_at=None,
        error=None,
    )
    earlier = progress.context["steps"]
    results: JsonObject = dict(earlier) if isinstance(earlier, dict) else {}
    results[step.name] = {"result": event.data.get("result")}
    context: JsonObject = {**progress.context, "steps": results}
    taken = event.data.get("signal")
    if isinstance(taken, str):
        context = _with_signals(context, taken, signals_in(context, taken)[1:])
    return _with_step(replace(progress, context=context), index, step)


def _step_failed(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    step = replace(
        step,
        state=move_step(step.state, StepState.FAILED),
        failures=step.failures + 1,
        error=event.error,
        finished_at=event.at,
        wake_at=None,
    )
    progress = _with_step(progress, index, step)
    if progress.state is SagaState.COMPENSATING:  # a neighbour in its group failed first
        return progress
    return replace(
        progress,
        state=move_saga(progress.state, SagaState.COMPENSATING),
        goal=SagaState.FAILED,
        error=f"Step {step.name!r} failed: {event.error}",
    )


def _compensation_start(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    step = replace(
        step,
        state=move_step(step.state, StepState.COMPENSATING),
        compensation_attempts=step.compensation_attempts + 1,
    )
    return _with_step(progress, index, step)


def _compensation_retry(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    failed = event.error is not None
    step = replace(
        step,
        state=move_step(step.state, StepState.COMPENSATING),
        compensation_attempts=step.compensation_attempts + 1,
        compensation_failures=step.compensation_failures + failed,
        compensation_error=event.error if failed else step.compensation_error,
    )
    return _with_step(progress, index, step)


def _compensation_complete(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    state = move_step(step.state, StepState.COMPENSATED)
    step = replace(step, state=state, finished_at=event.at, compensation_error=None)
    return _with_step(progress, index, step)


def _compensation_failed(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    step = replace(
        step,
        state=move_step(step.state, StepState.FAILED),
        compensation_failures=step.compensation_failures + 1,
        compensation_error=event.error,
        finished_at=event.at,
    )
    task: JsonObject = {
        "step": step.name,
        "what": "The compensation failed; undo the step's effect by hand.",
        "error": event.error,
    }
    progress = replace(progress, needs_person=(*progress.needs_person, task))
    return _with_step(progress, index, step)


def _finish(state: SagaState) -> Callable[[SagaProgress, SagaEvent], SagaProgress]:
    def change(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
        moved = move_saga(progress.state, state)
        return replace(
            progress,
            state=moved,
            goal=state,
            error=event.error or progress.error,
            finished_at=event.at,
            held_reason=None,
        )

    return change


def _abort_requested(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    compensate = event.data.get("compensate") is not False
    error = f"Aborted: {event.data.get('reason')}"
    if not compensate or progress.state is SagaState.IDLE:
        left = [_left_undone(step) for step in progress.steps if _may_have_effect(step)]
        stopped = tuple(
            replace(step, state=StepState.FAILED, error="aborted", wake_at=None)
            if step.state.is_in_flight
            else step
            for step in progress.steps
        )
        return replace(
            progress,
            state=move_saga(progress.state, SagaState.ABORTED),
            goal=SagaState.ABORTED,
            steps=stopped,
            error=error,
            needs_person=(*progress.needs_person, *left),
            held_reason=None,
            finished_at=event.at,
        )
    return replace(
        progress,
        state=move_saga(progress.state, SagaState.COMPENSATING),
        goal=SagaState.ABORTED,
        error=error,
        held_reason=None,
    )


def _signal(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    name = str(event.data.get("name"))
    waiting = [*signals_in(progress.context, name), event.data.get("body")]
    return replace(progress, context=_with_signals(progress.context, name, waiting))


def _with_signals(context: JsonObject, name: str, waiting: list[JsonValue]) -> JsonObject:
    signals = context.get("signals")
    others: JsonObject = dict(signals) if isinstance(signals, dict) else {}
    return {**context, "signals": {**others, name: waiting}}


def _may_have_effect(step: StepProgress) -> bool:
    return step.state.is_in_flight or step.state is StepState.COMPLETED


def _left_undone(step: StepProgress) -> JsonObject:
    what = "Aborted without compensation; its effect was left as it is."
    return {"step": step.name, "what": what, "state": step.state.value}


def _held(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    reason = event.error or "held"
    task: JsonObject = {"step": _name(progress, event), "what": reason}
    return replace(progress, held_reason=reason, needs_person=(*progress.needs_person, task))


def _name(progress: SagaProgress, event: SagaEvent) -> JsonValue:
    return None if event.step is None else progress.steps[event.step].name


def _released(progress: SagaProgress, event: SagaEvent) -> SagaProgress:  # noqa: ARG001
    return replace(progress, held_reason=None, needs_person=())


_CHANGES: dict[EventType, Callable[[SagaProgress, SagaEvent], SagaProgress]] = {
    EventType.STEP_START: _step_start,
    EventType.STEP_RETRY: _step_retry,
    EventType.STEP_COMPLETE: _step_complete,
    EventType.STEP_FAILED: _step_failed,
    EventType.COMPENSATION_START: _compensation_start,
    EventType.COMPENSATION_RETRY: _compensation_retry,
    EventType.COMPENSATION_COMPLETE: _compensation_complete,
    EventType.COMPENSATION_FAILED: _compensation_failed,
    EventType.SAGA_COMPLETE: _finish(SagaState.COMPLETED),
    EventType.SAGA_FAILED: _finish(SagaState.FAILED),
    EventType.SAGA_ABORTED: _finish(SagaState.ABORTED),
    EventType.ABORT_REQUESTED: _abort_requested,
    EventType.SIGNAL: _signal,
    EventType.HELD: _held,
    EventType.RELEASED: _released,
}
