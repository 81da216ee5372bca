"""The state machine against a model: random sagas, random events, and the table."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.saga import SagaDefinition, SagaState, SagaStep, StepState
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.evolution import evolve
from mcp_orchestrator.saga.planning import consequences
from mcp_orchestrator.saga.progress import SagaProgress, begin
from mcp_orchestrator.saga.states import (
    SAGA_TRANSITIONS,
    STEP_TRANSITIONS,
    move_saga,
    move_step,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("before", SagaState)
@pytest.mark.parametrize("after", SagaState)
def test_only_transitions_of_the_table_are_made(before: SagaState, after: SagaState) -> None:
    if after is before or after in SAGA_TRANSITIONS[before]:
        assert move_saga(before, after) is after
    else:
        with pytest.raises(ConflictError):
            move_saga(before, after)


@pytest.mark.parametrize("before", StepState)
@pytest.mark.parametrize("after", StepState)
def test_only_transitions_of_steps_in_the_table_are_made(
    before: StepState, after: StepState
) -> None:
    if after in STEP_TRANSITIONS[before]:
        assert move_step(before, after) is after
    else:
        with pytest.raises(ConflictError):
            move_step(before, after)


def definition(groups: list[int], compensable: list[bool]) -> SagaDefinition:
    steps = [
        SagaStep(f"s{i}", "act", "undo" if undo else None, group=f"g{group}" if group else None)
        for i, (group, undo) in enumerate(zip(groups, compensable, strict=True))
    ]
    return SagaDefinition("saga", "1", tuple(steps))


STEP_EVENTS = [
    kind
    for kind in EventType
    if kind.startswith(("step_", "compensation_")) and kind is not EventType.STEP_PROGRESS
]


class Machine(RuleBasedStateMachine):
    """Lets a saga's steps succeed, fail and be aborted in any order, beside a simple model."""

    @initialize(shape=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
    def start(self, shape: list[tuple[int, bool]]) -> None:
        self.definition = definition([group for group, _ in shape], [undo for _, undo in shape])
        self.progress: SagaProgress = begin(self.definition, {})
        self.completed: list[int] = []
        self.undone: list[int] = []
        self.given_up: list[int] = []
        self.failed = self.aborted = False
        self.settle()

    def write(self, kind: EventType, step: int | None = None, error: str | None = None) -> None:
        self.progress = evolve(self.progress, SagaEvent(kind, NOW, step, error=error))
        self.settle()

    def settle(self) -> None:
        for event in consequences(self.definition, self.progress, NOW):
            self.progress = evolve(self.progress, event)

    def flying(self, state: StepState) -> list[int]:
        return [i for i in self.progress.in_flight() if self.progress.steps[i].state is state]

    @precondition(lambda self: self.flying(StepState.EXECUTING))
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(self.flying(StepState.EXECUTING)))
        self.completed.append(step)
        self.write(EventType.STEP_COMPLETE, step)

    @precondition(lambda self: self.flying(StepState.EXECUTING))
    @rule(data=st.data(), again=st.booleans())
    def fail(self, data: st.DataObject, again: bool) -> None:
        step = data.draw(st.sampled_from(self.flying(StepState.EXECUTING)))
        if not again:
            self.failed = True
        self.write(EventType.STEP_RETRY if again else EventType.STEP_FAILED, step, "broken")

    @precondition(lambda self: self.flying(StepState.COMPENSATING))
    @rule(data=st.data(), works=st.booleans())
    def compensate(self, data: st.DataObject, works: bool) -> None:
        step = data.draw(st.sampled_from(self.flying(StepState.COMPENSATING)))
        (self.undone if works else self.given_up).append(step)
        kind = EventType.COMPENSATION_COMPLETE if works else EventType.COMPENSATION_FAILED
        self.write(kind, step, None if works else "stuck")

    @precondition(lambda self: self.progress.state is SagaState.RUNNING)
    @rule()
    def abort(self) -> None:
        self.aborted = True
        cut_off = self.flying(StepState.EXECUTING)
        self.progress = evolve(self.progress, SagaEvent(EventType.ABORT_REQUESTED, NOW))
        for step in cut_off:
            self.progress = evolve(
                self.progress, SagaEvent(EventType.STEP_FAILED, NOW, step, error="cut off")
            )
        self.settle()

    @precondition(lambda self: self.progress.state.is_finished)
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        """Whatever was undone, or is undone now, starts again; a new life for the model."""
        before = self.progress.steps
        open_steps = [i for i, s in enumerate(before) if s.state is not StepState.COMPLETED]
        first = min(data.draw(st.sampled_from(self.definition.stages))[0], *open_steps, len(before))
        self.progress = evolve(self.progress, SagaEvent(EventType.MANUAL_REWIND, NOW, first))
        self.settle()
        while self.progress.state is SagaState.COMPENSATING:
            for index in self.flying(StepState.COMPENSATING):
                assert index >= first
                self.write(EventType.COMPENSATION_COMPLETE, index)
        self.settle()
        for index, step in enumerate(self.progress.steps):
            kept = index < first and before[index].state is StepState.COMPLETED
            assert (step.state is StepState.COMPLETED) == kept
            assert step.rewinds == before[index].rewinds + (index >= first)
        self.completed = [i for i in range(first) if before[i].state is StepState.COMPLETED]
        self.undone, self.given_up = [], []
        self.failed = self.aborted = False

    @precondition(lambda self: self.progress.state.is_finished)
    @rule(kind=st.sampled_from(STEP_EVENTS))
    def too_late(self, kind: EventType) -> None:
        with pytest.raises(ConflictError):
            evolve(self.progress, SagaEvent(kind, NOW, 0, error="late"))

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "progress"):
            return
        steps, state = self.progress.steps, self.progress.state
        undo = {i for i, s in enumerate(self.definition.steps) if s.compensation is not None}
        assert len(self.progress.needs_person) == len(self.given_up)
        for index in self.undone:
            assert steps[index].state is StepState.COMPENSATED
        for number, stage in enumerate(self.definition.stages):
            started = any(steps[i].state is not StepState.PENDING for i in stage)
            for earlier in self.definition.stages[:number]:
                assert not started or all(i in self.completed for i in earlier)
        if state is SagaState.COMPLETED:
            assert sorted(self.completed) == list(range(len(steps)))
            assert (self.failed, self.aborted) == (False, False)
        if state in {SagaState.FAILED, SagaState.ABORTED}:
            assert Counter(self.undone + self.given_up) == Counter(undo & set(self.completed))
            assert self.failed or self.aborted
        if state.is_finished:
            assert self.progress.in_flight() == []
            assert self.progress.finished_at is not None
        else:
            assert self.progress.in_flight() != []

    @invariant()
    def compensates_in_reverse(self) -> None:
        if not hasattr(self, "progress"):
            return
        stage_of = {i: n for n, stage in enumerate(self.definition.stages) for i in stage}
        order = [stage_of[index] for index in self.undone]
        assert order == sorted(order, reverse=True)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(
    events=st.lists(
        st.tuples(st.sampled_from(EventType), st.integers(0, 2)), min_size=1, max_size=12
    )
)
@settings(max_examples=300, deadline=None)
def test_any_event_moves_by_the_table_or_is_refused(events: list[tuple[EventType, int]]) -> None:
    progress = begin(definition([0, 0, 0], [True, True, False]), {})
    for kind, step in events:
        before = progress
        try:
            progress = evolve(progress, SagaEvent(kind, NOW, step, error="x"))
        except ConflictError:
            continue
        if progress.state is not before.state:
            assert progress.state in SAGA_TRANSITIONS[before.state]
        for old, new in zip(before.steps, progress.steps, strict=True):
            assert new.state is old.state or new.state in STEP_TRANSITIONS[old.state]


def test_what_is_held_goes_no_further() -> None:
    shape = definition([0], [True])
    progress = begin(shape, {})
    progress = evolve(progress, SagaEvent(EventType.HELD, NOW, error="who knows"))
    assert consequences(shape, progress, NOW) == ()
    progress = evolve(progress, SagaEvent(EventType.RELEASED, NOW))
    assert [event.type for event in consequences(shape, progress, NOW)] == [EventType.STEP_START]
