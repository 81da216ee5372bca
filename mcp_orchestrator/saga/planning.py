"""What follows for a saga when nothing is in flight: the next intents, or its end. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.saga.built_in import split_arguments
from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.progress import SagaProgress
from mcp_orchestrator.saga.references import resolve
from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.saga.waits import is_wait, wait_deadline


def consequences(
    definition: SagaDefinition, progress: SagaProgress, now: datetime
) -> Sequence[SagaEvent]:
    """Return the events that follow by themselves and go to disk before any further effect.

    Args:
        definition: the saga's definition.
        progress: how far it is.
        now: the present moment.

    Returns:
        The intents of the next steps or compensations, or the saga's end; nothing while
        something is in flight, and nothing for a saga that is finished or held.
    """
    if progress.in_flight() or progress.is_at_rest:
        return ()
    if progress.state is SagaState.COMPENSATING:
        return _backward(definition, progress, now)
    return _forward(definition, progress, now)


def arguments_of(definition: SagaDefinition, progress: SagaProgress, index: int) -> JsonObject:
    """Return what a step's action gets: its arguments resolved, or the context before it.

    Raises:
        InvalidInputError: a reference points at nothing.
    """
    step = definition.steps[index]
    if step.arguments is None:
        return _context_before(definition, progress, index)
    own, literal = split_arguments(step.action, step.arguments)
    resolved = resolve(own, progress.context, f"$.steps[{index}].arguments")
    return {**resolved, **literal} if isinstance(resolved, dict) else {"value": resolved}


def is_past_pivot(definition: SagaDefinition, progress: SagaProgress) -> bool:
    """Tell whether a step after which the saga only goes forward has completed."""
    return any(
        plan.pivot and step.state is StepState.COMPLETED
        for plan, step in zip(definition.steps, progress.steps, strict=True)
    )


def result_of(progress: SagaProgress, step_name: str) -> JsonObject:
    """Return ``{"result": …}`` of a completed step, or an empty object."""
    results = progress.context["steps"]
    found = results.get(step_name) if isinstance(results, dict) else None
    return found if isinstance(found, dict) else {}


def _forward(
    definition: SagaDefinition, progress: SagaProgress, now: datetime
) -> Sequence[SagaEvent]:
    for stage in definition.stages:
        waiting = [i for i in stage if progress.steps[i].state is StepState.PENDING]
        if waiting:
            return [_intent(definition, progress, index, now) for index in waiting]
    return [SagaEvent(EventType.SAGA_COMPLETE, now)]


def _backward(
    definition: SagaDefinition, progress: SagaProgress, now: datetime
) -> Sequence[SagaEvent]:
    for stage in reversed(definition.stages):
        done = [index for index in stage if is_to_undo(definition, progress, index)]
        if done:
            return [SagaEvent(EventType.COMPENSATION_START, now, index) for index in done]
    if progress.goal is SagaState.COMPLETED:
        return [_end_of_rewind(progress, now)]
    aborted = progress.goal is SagaState.ABORTED
    end = EventType.SAGA_ABORTED if aborted else EventType.SAGA_FAILED
    return [SagaEvent(end, now, error=progress.error)]


def is_to_undo(definition: SagaDefinition, progress: SagaProgress, index: int) -> bool:
    """Tell whether a saga that goes back has a step's effect still to undo."""
    step = progress.steps[index]
    return (
        step.state is StepState.COMPLETED
        and not step.borrowed
        and definition.steps[index].compensation is not None
        and (step.rewinding or progress.goal is not SagaState.COMPLETED)
    )


def _end_of_rewind(progress: SagaProgress, now: datetime) -> SagaEvent:
    """Go forward again; the saga fails where a compensation did, with a list for a person."""
    stuck = progress.stuck()
    if not stuck:
        return SagaEvent(EventType.REWOUND, now)
    error = f"It could not be rewound: undoing {', '.join(stuck)} failed."
    return SagaEvent(EventType.SAGA_FAILED, now, error=error)


def _intent(
    definition: SagaDefinition, progress: SagaProgress, index: int, now: datetime
) -> SagaEvent:
    action = definition.steps[index].action
    data: JsonObject = {"attempt": progress.steps[index].attempts + 1}
    if is_wait(action):
        data["wake_at"] = _wake_at(definition, progress, index, now)
    return SagaEvent(EventType.STEP_START, now, index, data)


def _wake_at(
    definition: SagaDefinition, progress: SagaProgress, index: int, now: datetime
) -> str | None:
    try:
        arguments = arguments_of(definition, progress, index)
        deadline = wait_deadline(str(definition.steps[index].action), arguments, now)
    except InvalidInputError:  # found again, and written down, when the step runs
        return None
    return deadline.astimezone(UTC).isoformat() if deadline is not None else None


def _context_before(definition: SagaDefinition, progress: SagaProgress, index: int) -> JsonObject:
    given = progress.context["input"]
    context: JsonObject = dict(given) if isinstance(given, dict) else {"input": given}
    for stage in definition.stages:
        if index in stage:
            break
        for earlier in stage:
            name = definition.steps[earlier].name
            result = result_of(progress, name).get("result")
            if isinstance(result, dict):
                context.update(result)
            elif result is not None:
                context[name] = result
    return context
