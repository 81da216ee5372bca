"""What each event makes of a saga: a pure fold, the only thing that changes a state.

Every change goes by the table in ``states``. Folding a saga's audit trail gives its checkpoint.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.saga import evolution_by_hand as by_hand
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.progress import SagaProgress, StepProgress
from mcp_orchestrator.saga.states import SagaState, StepState, move_saga, move_step
from mcp_orchestrator.saga.values import JsonObject, JsonValue
from mcp_orchestrator.saga.waits import signals_in

Change: TypeAlias = Callable[[SagaProgress, SagaEvent], SagaProgress]


def evolve(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    """Return what an event makes of a saga.

    Raises:
        ConflictError: the present state does not allow the event.
    """
    _check_step_event(progress, event)
    change = _CHANGES.get(event.type)
    return progress if change is None else change(progress, event)


#: The state a step must be in for an event of its own; no such event happens to a finished saga.
_HAPPENS_IN: dict[EventType, StepState] = {
    EventType.STEP_START: StepState.PENDING,
    EventType.STEP_SKIPPED: StepState.PENDING,
    EventType.STEP_RETRY: StepState.EXECUTING,
    EventType.STEP_COMPLETE: StepState.EXECUTING,
    EventType.STEP_FAILED: StepState.EXECUTING,
    EventType.COMPENSATION_START: StepState.COMPLETED,
    EventType.COMPENSATION_RETRY: StepState.COMPENSATING,
    EventType.COMPENSATION_COMPLETE: StepState.COMPENSATING,
    EventType.COMPENSATION_FAILED: StepState.COMPENSATING,
}


def _check_step_event(progress: SagaProgress, event: SagaEvent) -> None:
    needed = _HAPPENS_IN.get(event.type)
    if needed is None:
        return
    _, step = _step_of(progress, event)
    if progress.state.is_finished or step.state is not needed:
        raise ConflictError(
            f"{event.type} cannot happen to step {step.name!r}: the step is {step.state}, "
            f"the saga {progress.state}."
        )


def _with_step(progress: SagaProgress, index: int, step: StepProgress) -> SagaProgress:
    steps = (*progress.steps[:index], step, *progress.steps[index + 1 :])
    return progress._replace(steps=steps)


def _step_of(progress: SagaProgress, event: SagaEvent) -> tuple[int, StepProgress]:
    if event.step is None:
        raise ValueError(f"a {event.type} event names its step")
    return event.step, progress.steps[event.step]


def _step_start(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    wake = event.data.get("wake_at")
    step = step._replace(
        state=move_step(step.state, StepState.EXECUTING),
        attempts=step.attempts + 1,
        started_at=step.started_at or event.at,
        wake_at=datetime.fromisoformat(wake) if isinstance(wake, str) else None,
    )
    running = progress._replace(state=move_saga(progress.state, SagaState.RUNNING))
    return _with_step(running, index, step)


def _step_retry(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    failed = event.error is not None
    step = step._replace(
        state=move_step(step.state, StepState.EXECUTING),
        attempts=step.attempts + 1,
        failures=step.failures + failed,
        error=event.error if failed else step.error,
    )
    return _with_step(progress, index, step)


def _step_complete(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    step = step._replace(
        state=move_step(step.state, StepState.COMPLETED),
        finished_at=event.at,
        wake_at=None,
        error=None,
        borrowed=event.data.get("borrowed") is True,
    )
    results = progress.results()
    results[step.name] = {"result": event.data.get("result")}
    context: JsonObject = {**progress.context, "steps": results}
    taken = event.data.get("signal")
    if isinstance(taken, str):
        context = _with_signals(context, taken, signals_in(context, taken)[1:])
    return _with_step(progress._replace(context=context), index, step)


def _step_failed(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    step = step._replace(
        state=move_step(step.state, StepState.FAILED),
        failures=step.failures + 1,
        error=event.error,
        finished_at=event.at,
        wake_at=None,
    )
    progress = _with_step(progress, index, step)
    if event.data.get("uncertain") is True:
        task: JsonObject = {
            "step": step.name,
            "what": "It was cut off; see whether it had its effect, and undo it by hand if so.",
            "error": event.error,
        }
        progress = progress._replace(needs_person=(*progress.needs_person, task))
    if progress.state is SagaState.COMPENSATING:  # a neighbour in its group failed first
        return progress
    return progress._replace(
        state=move_saga(progress.state, SagaState.COMPENSATING),
        goal=SagaState.FAILED,
        error=f"Step {step.name!r} failed: {event.error}",
    )


def _compensation_start(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    step = step._replace(
        state=move_step(step.state, StepState.COMPENSATING),
        compensation_attempts=step.compensation_attempts + 1,
    )
    return _with_step(progress, index, step)


def _compensation_retry(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    failed = event.error is not None
    step = step._replace(
        state=move_step(step.state, StepState.COMPENSATING),
        compensation_attempts=step.compensation_attempts + 1,
        compensation_failures=step.compensation_failures + failed,
        compensation_error=event.error if failed else step.compensation_error,
    )
    return _with_step(progress, index, step)


def _compensation_complete(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    state = move_step(step.state, StepState.COMPENSATED)
    step = step._replace(state=state, finished_at=event.at, compensation_error=None)
    return _with_step(progress, index, step)


def _compensation_failed(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    index, step = _step_of(progress, event)
    step = step._replace(
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
    progress = progress._replace(needs_person=(*progress.needs_person, task))
    return _with_step(progress, index, step)


def _finish(state: SagaState) -> Change:
    def change(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
        moved = move_saga(progress.state, state)
        return progress._replace(
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
            step._replace(state=StepState.FAILED, error="aborted", wake_at=None)
            if step.state.is_in_flight
            else step
            for step in progress.steps
        )
        return progress._replace(
            state=move_saga(progress.state, SagaState.ABORTED),
            goal=SagaState.ABORTED,
            steps=stopped,
            error=error,
            needs_person=(*progress.needs_person, *left),
            held_reason=None,
            finished_at=event.at,
        )
    return progress._replace(
        state=move_saga(progress.state, SagaState.COMPENSATING),
        goal=SagaState.ABORTED,
        error=error,
        held_reason=None,
    )


def _signal(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    name = str(event.data.get("name"))
    waiting = [*signals_in(progress.context, name), event.data.get("body")]
    return progress._replace(context=_with_signals(progress.context, name, waiting))


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
    return progress._replace(held_reason=reason, needs_person=(*progress.needs_person, task))


def _name(progress: SagaProgress, event: SagaEvent) -> JsonValue:
    return None if event.step is None else progress.steps[event.step].name


_CHANGES: dict[EventType, Change] = {
    EventType.STEP_START: _step_start,
    EventType.STEP_RETRY: _step_retry,
    EventType.STEP_COMPLETE: _step_complete,
    EventType.STEP_SKIPPED: _step_complete,
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
    EventType.APPROVAL: _signal,
    EventType.HELD: _held,
    EventType.RELEASED: by_hand.released,
    EventType.MANUAL_RETRY: by_hand.manual_retry,
    EventType.MANUAL_COMPENSATE: by_hand.manual_compensate,
    EventType.MANUAL_RESOLVE: by_hand.manual_resolve,
    EventType.MANUAL_REWIND: by_hand.manual_rewind,
    EventType.REWOUND: by_hand.rewound,
    EventType.ERASED: by_hand.erased,
}
