"""What a person's orders make of a saga: the part of the fold that lets a saga go on or go back.

Pure, as all of ``evolution`` is.
"""

from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.saga.events import SagaEvent
from mcp_orchestrator.saga.progress import SagaProgress, StepProgress
from mcp_orchestrator.saga.states import SagaState, StepState, move_saga, move_step
from mcp_orchestrator.saga.values import JsonObject


def manual_retry(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    """Run again what is not completed."""
    steps = tuple(
        step if step.state in {StepState.COMPLETED, StepState.PENDING} else _renewed(step)
        for step in progress.steps
    )
    return progress._replace(
        state=move_saga(progress.state, SagaState.RUNNING),
        goal=SagaState.COMPLETED,
        steps=steps,
        context=_with_input(progress.context, event.data),
        error=None,
        needs_person=(),
        held_reason=None,
        finished_at=None,
    )


def _with_input(context: JsonObject, data: JsonObject) -> JsonObject:
    """Return the context with the input that a person has put in the old one's place."""
    return {**context, "input": data["input"]} if "input" in data else context


def _renewed(step: StepProgress) -> StepProgress:
    undone = step.state is StepState.COMPENSATED
    return StepProgress(
        step.name,
        move_step(step.state, StepState.PENDING),
        attempts=step.attempts,
        started_at=step.started_at,
        repetition=step.repetition + undone,
        rewinds=step.rewinds,
    )


def manual_compensate(progress: SagaProgress, _event: SagaEvent) -> SagaProgress:
    """Undo what is completed, and once more what could not be undone."""
    failed = progress.goal is SagaState.FAILED
    return progress._replace(
        state=move_saga(progress.state, SagaState.COMPENSATING),
        goal=SagaState.FAILED if failed else SagaState.ABORTED,
        steps=tuple(_undone_once_more(step) for step in progress.steps),
        needs_person=(),
        held_reason=None,
        finished_at=None,
    )


def _undone_once_more(step: StepProgress) -> StepProgress:
    """Take a step whose undoing had failed as completed, so that it is undone anew."""
    if step.state is not StepState.FAILED or not step.compensation_failures:
        return step
    completed = move_step(step.state, StepState.COMPLETED)
    return step._replace(state=completed, compensation_failures=0, compensation_error=None)


def manual_resolve(progress: SagaProgress, _event: SagaEvent) -> SagaProgress:
    """Take what needed a person as settled."""
    return progress._replace(needs_person=())


def manual_rewind(progress: SagaProgress, event: SagaEvent) -> SagaProgress:
    """Go back to a step: what was done from there on is undone before it runs anew.

    The new input takes its place only then: what is undone must be undone as it was done.
    """
    if event.step is None:
        raise ValueError("a manual_rewind event names its step")
    context = progress.context
    if "input" in event.data:
        context = {**context, "next_input": event.data["input"]}
    return progress._replace(
        state=move_saga(progress.state, SagaState.COMPENSATING),
        goal=SagaState.COMPLETED,
        steps=tuple(
            _going_back(step) if index >= event.step else step
            for index, step in enumerate(progress.steps)
        ),
        context=context,
        error=None,
        needs_person=(),
        held_reason=None,
        finished_at=None,
    )


def _going_back(step: StepProgress) -> StepProgress:
    """Mark a step for being undone; one whose undoing had failed is to be undone once more."""
    step = _undone_once_more(step)
    if step.state is StepState.EXECUTING:  # a person has said that it did not happen
        step = _renewed(step)
    return step._replace(rewinding=True)


def rewound(progress: SagaProgress, _event: SagaEvent) -> SagaProgress:
    """Go forward again: everything that was to be undone is."""
    going_back = progress.state is SagaState.COMPENSATING
    if progress.stuck() or not going_back or progress.goal is not SagaState.COMPLETED:
        raise ConflictError("The saga is not being rewound, or something could not be undone.")
    results = progress.results()
    for step in progress.steps:
        if step.rewinding:
            results.pop(step.name, None)
    context: JsonObject = {**progress.context, "steps": results}
    if "next_input" in context:
        context["input"] = context.pop("next_input")
    return progress._replace(
        state=move_saga(progress.state, SagaState.RUNNING),
        steps=tuple(_again(step) for step in progress.steps),
        context=context,
    )


def _again(step: StepProgress) -> StepProgress:
    at_rest = step.state is StepState.PENDING
    if not step.rewinding:
        return step if at_rest or step.state is StepState.COMPLETED else _renewed(step)
    happened = step.state is StepState.COMPLETED  # and nothing undoes it
    step = step if at_rest else _renewed(step)
    return step._replace(
        repetition=step.repetition + happened, rewinds=step.rewinds + 1, rewinding=False
    )


def erased(progress: SagaProgress, _event: SagaEvent) -> SagaProgress:
    """Forget what the saga knew; which steps were done and undone stays."""
    steps = tuple(step._replace(error=None, compensation_error=None) for step in progress.steps)
    blank: JsonObject = {"input": {}, "steps": {}}
    return progress._replace(steps=steps, context=blank, error=None, needs_person=())


def released(progress: SagaProgress, _event: SagaEvent) -> SagaProgress:
    """Go on; a person has said that what is still in flight did not happen."""
    steps = tuple(
        _renewed(step) if step.state is StepState.EXECUTING else step for step in progress.steps
    )
    return progress._replace(steps=steps, held_reason=None, needs_person=())
