"""The states of sagas and steps and the one table of what may become what.

The database refuses the same transitions by trigger; a test compares the two.
"""

from enum import StrEnum

from mcp_orchestrator.errors import ConflictError


class SagaState(StrEnum):
    """Where a saga stands."""

    IDLE = "idle"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPENSATING = "compensating"
    FAILED = "failed"
    ABORTED = "aborted"

    __hash__ = str.__hash__  # Enum's own is a Python function, and tables are asked all the time

    @property
    def is_finished(self) -> bool:
        """Tell whether only a person could set it going again."""
        return self is SagaState.COMPLETED or self is SagaState.FAILED or self is SagaState.ABORTED


class StepState(StrEnum):
    """Where one step of a saga stands."""

    PENDING = "pending"
    EXECUTING = "executing"
    COMPLETED = "completed"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    FAILED = "failed"

    __hash__ = str.__hash__

    @property
    def is_in_flight(self) -> bool:
        """Tell whether its effect, or the undoing of it, may be happening now."""
        return self is StepState.EXECUTING or self is StepState.COMPENSATING


#: What leaves a finished state is done by hand, with a reason, and audited. Only a saga that a
#: person has rewound goes forward again after compensating.
SAGA_TRANSITIONS: dict[SagaState, frozenset[SagaState]] = {
    SagaState.IDLE: frozenset({SagaState.RUNNING, SagaState.ABORTED}),
    SagaState.RUNNING: frozenset(
        {SagaState.COMPLETED, SagaState.COMPENSATING, SagaState.FAILED, SagaState.ABORTED}
    ),
    SagaState.COMPENSATING: frozenset({SagaState.FAILED, SagaState.ABORTED, SagaState.RUNNING}),
    SagaState.COMPLETED: frozenset({SagaState.RUNNING, SagaState.COMPENSATING}),
    SagaState.FAILED: frozenset({SagaState.RUNNING, SagaState.COMPENSATING}),
    SagaState.ABORTED: frozenset({SagaState.RUNNING, SagaState.COMPENSATING}),
}

#: Only a person sends a step back: to PENDING to run it again, from FAILED to COMPLETED to undo
#: once more what could not be undone.
STEP_TRANSITIONS: dict[StepState, frozenset[StepState]] = {
    StepState.PENDING: frozenset({StepState.EXECUTING, StepState.COMPLETED}),
    StepState.EXECUTING: frozenset(
        {StepState.EXECUTING, StepState.COMPLETED, StepState.FAILED, StepState.PENDING}
    ),
    StepState.COMPLETED: frozenset({StepState.COMPENSATING, StepState.PENDING}),
    StepState.COMPENSATING: frozenset(
        {StepState.COMPENSATING, StepState.COMPENSATED, StepState.FAILED}
    ),
    StepState.COMPENSATED: frozenset({StepState.PENDING}),
    StepState.FAILED: frozenset({StepState.PENDING, StepState.COMPLETED}),
}


def move_saga(before: SagaState, after: SagaState) -> SagaState:
    """Return the new state of a saga, or refuse.

    Raises:
        ConflictError: the table does not have the transition.
    """
    if after is not before and after not in SAGA_TRANSITIONS[before]:
        raise ConflictError(f"A saga that is {before} cannot become {after}.")
    return after


def move_step(before: StepState, after: StepState) -> StepState:
    """Return the new state of a step, or refuse.

    Raises:
        ConflictError: the table does not have the transition.
    """
    if after not in STEP_TRANSITIONS[before]:
        raise ConflictError(f"A step that is {before} cannot become {after}.")
    return after
