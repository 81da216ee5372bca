"""How far a saga is: plain data, which ``evolution`` derives from its events."""

from datetime import datetime
from typing import NamedTuple

from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.saga.values import JsonObject

_IN_FLIGHT = frozenset(state for state in StepState if state.is_in_flight)


class StepProgress(NamedTuple):
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
        repetition: how often it was set going again after it had been undone; its idempotency
            key changes with it.
        borrowed: whether its effect is another saga's, which alone may undo it.
        rewinding: whether the saga goes back to this step, or to one before it.
        rewinds: how often it did; the step's memos are new each time.
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
    repetition: int = 0
    borrowed: bool = False
    rewinding: bool = False
    rewinds: int = 0


class SagaProgress(NamedTuple):
    """How far a saga is.

    Attributes:
        state: where it stands.
        goal: the finished state it is heading for.
        steps: each step, in the definition's order.
        context: ``{"input": …, "steps": {NAME: {"result": …}}}``, what references point into;
            while it is rewound, ``next_input`` is what will be its input then.
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
    needs_person: tuple[JsonObject, ...] = ()
    held_reason: str | None = None
    finished_at: datetime | None = None

    @property
    def retries(self) -> int:
        """How many starts of actions and compensations were repetitions."""
        repeated = 0
        for step in self.steps:
            if step.attempts > 1:
                repeated += step.attempts - 1
            if step.compensation_attempts > 1:
                repeated += step.compensation_attempts - 1
        return repeated

    @property
    def is_at_rest(self) -> bool:
        """Whether it is finished, or held: nobody goes on with it until a person says so."""
        return self.state.is_finished or self.held_reason is not None

    def results(self) -> JsonObject:
        """Return ``{NAME: {"result": …}}`` of the completed steps, to be changed freely."""
        results = self.context["steps"]
        return dict(results) if isinstance(results, dict) else {}

    def stuck(self) -> list[str]:
        """Return the names of the steps that should be rewound and could not be undone."""
        return [step.name for step in self.steps if step.rewinding and step.compensation_failures]

    def in_flight(self) -> list[int]:
        """Return the indexes of the steps whose effect may be happening now."""
        return [index for index, step in enumerate(self.steps) if step.state in _IN_FLIGHT]


def begin(definition: SagaDefinition, input: JsonObject) -> SagaProgress:  # noqa: A002 - the word that references use
    """Return the progress of a saga that was only just asked for."""
    steps = tuple(StepProgress(step.name) for step in definition.steps)
    return SagaProgress(steps, {"input": input, "steps": {}})
