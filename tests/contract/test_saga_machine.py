"""The engine on real databases beside a model: random sagas, random outcomes, random orders.

The actions wait for the machine to say how they end, so that it chooses every interleaving. After
each rule the saga on disk is exactly what the model says, and folding its audit trail gives the
same. What the table of transitions does not have is refused and changes nothing.
"""

import itertools
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Literal

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mcp_orchestrator.errors import BusinessRefusalError, ConflictError
from mcp_orchestrator.saga import (
    NO_RETRY,
    JsonObject,
    JsonValue,
    RetryPolicy,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    StepHandle,
    StepState,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.saga.orders import Order
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine
from mcp_orchestrator.store.migrations import migrate
from tests.chaos.saga_expectations import assert_fold_gives_the_row
from tests.services.waiting import until

Outcome = Literal["works", "stumbles", "refuses"]
#: A step's group (0 for none) and whether it can be undone.
Shape = list[tuple[int, bool]]

P, E, C, G, U, F = StepState  # pending, executing, completed, going back, undone, failed
PATIENT = RetryPolicy(max_attempts=100, first_delay=0.0)
EXAMPLES = itertools.count(1)
#: How many sagas live on each database; SAGA_EXAMPLES=200 for the long run.
MOST_EXAMPLES = int(os.environ.get("SAGA_EXAMPLES", "8"))
REASON = Order("the machine", "tester")


class Model:
    """What a saga is expected to do, in a few lines that share nothing with the engine."""

    def __init__(self, shape: Shape) -> None:
        self.undoable = [undo for _, undo in shape]
        self.steps = [P] * len(shape)
        self.state = SagaState.RUNNING
        self.goal = SagaState.COMPLETED
        self.for_a_person = 0
        self.gave_up = set[int]()
        self.stages: list[list[int]] = []
        for index, (group, _) in enumerate(shape):
            together = index > 0 and group != 0 and shape[index - 1][0] == group
            if together:
                self.stages[-1].append(index)
            else:
                self.stages.append([index])
        self.go_on()

    def flying(self) -> list[int]:
        return [index for index, step in enumerate(self.steps) if step in {E, G}]

    def go_on(self) -> None:
        """Start what comes next, once nothing is in flight."""
        if self.flying() or self.state not in {SagaState.RUNNING, SagaState.COMPENSATING}:
            return
        forward = self.state is SagaState.RUNNING
        for stage in self.stages if forward else reversed(self.stages):
            next_ones = [
                i for i in stage
                if (self.steps[i] is P if forward else self.steps[i] is C and self.undoable[i])
            ]  # fmt: skip
            if next_ones:
                for index in next_ones:
                    self.steps[index] = E if forward else G
                return
        self.state = SagaState.COMPLETED if forward else self.goal

    def end(self, index: int, outcome: Outcome) -> None:
        """An action, or a compensation, ends."""
        if self.steps[index] is G:
            self.steps[index] = U if outcome == "works" else F
            if outcome != "works":
                self.for_a_person += 1
                self.gave_up.add(index)
        elif outcome == "works":
            self.steps[index] = C
        elif outcome == "refuses" or self.state is SagaState.COMPENSATING:
            self.steps[index] = F
            if self.state is SagaState.RUNNING:
                self.state, self.goal = SagaState.COMPENSATING, SagaState.FAILED
        self.go_on()

    def abort(self) -> None:
        self.state, self.goal = SagaState.COMPENSATING, SagaState.ABORTED
        for index in self.flying():
            self.steps[index] = F
            self.for_a_person += self.undoable[index]
        self.go_on()

    def retry(self) -> None:
        self.steps = [C if step is C else P for step in self.steps]
        self._begin(SagaState.RUNNING, SagaState.COMPLETED)

    def compensate(self) -> None:
        failed = self.state is SagaState.FAILED
        self.steps = [C if i in self.gave_up else step for i, step in enumerate(self.steps)]
        self._begin(SagaState.COMPENSATING, SagaState.FAILED if failed else SagaState.ABORTED)

    def _begin(self, state: SagaState, goal: SagaState) -> None:
        self.state, self.goal = state, goal
        self.for_a_person = 0
        self.gave_up.clear()
        self.go_on()


class World:
    """Actions that end as they are told, and not before."""

    def __init__(self) -> None:
        self.waiting: dict[int, anyio.Event] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.keys: dict[int, list[str]] = {}
        self.changed = anyio.Event()

    def action(self, index: int) -> Callable[[JsonObject, StepHandle], Awaitable[JsonValue]]:
        async def act(_arguments: JsonObject, handle: StepHandle) -> JsonValue:
            told = self.waiting[index] = anyio.Event()
            self.keys.setdefault(index, []).append(handle.idempotency_key)
            self.changed.set()
            try:
                await told.wait()
            finally:
                if self.waiting.get(index) is told:
                    del self.waiting[index]
                self.changed.set()
            outcome = self.outcomes.pop(index)
            if outcome == "refuses":
                raise BusinessRefusalError("no")
            if outcome == "stumbles":
                raise OSError("hiccup")
            return index

        return act

    def tell(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        self.waiting.pop(index).set()

    async def until_waiting(self, expected: set[int]) -> None:
        with anyio.fail_after(60):
            while set(self.waiting) != expected:
                self.changed = anyio.Event()
                await self.changed.wait()


class Machine(RuleBasedStateMachine):
    """One saga on one database, and one engine at a time that runs it."""

    url: str
    portal: BlockingPortal

    def __init__(self) -> None:
        super().__init__()
        self.model: Model | None = None
        self.stack = ExitStack()

    def teardown(self) -> None:
        self.stack.close()

    def call(self, work: Callable[[], Awaitable[None]]) -> None:
        self.portal.call(work)

    @property
    def ran(self) -> Model:
        assert self.model is not None
        return self.model

    @initialize(shape=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5))
    def start(self, shape: Shape) -> None:
        self.model = Model(shape)
        self.world = World()
        steps = [
            SagaStep(
                f"s{index}", self.world.action(index), self.world.action(index) if undo else None,
                group=f"g{group}" if group else None, retry=PATIENT, compensation_retry=NO_RETRY,
            )
            for index, (group, undo) in enumerate(shape)
        ]  # fmt: skip
        version = str(next(EXAMPLES))  # what an earlier example has left is none of ours
        self.definition = SagaDefinition("machine", version, tuple(steps))
        self.database = open_engine(self.url)
        self.stack.callback(lambda: self.call(self.database.close))
        committer = self.portal.call(GroupCommitter, self.database)
        self.committer = self.stack.enter_context(self.portal.wrap_async_context_manager(committer))
        self._run_engine("first")
        self.call(self._start)

    def _run_engine(self, name: str) -> None:
        """Run sagas in one more engine, until the stack of this one is closed."""
        self.engine = self.portal.call(self._engine, name)
        self.running = self.stack.enter_context(ExitStack())
        self.running.enter_context(self.portal.wrap_async_context_manager(self.engine))

    async def _engine(self, name: str) -> SagaEngine:
        engine = SagaEngine(self.database, self.committer, NoActions(), runner_id=name)
        engine.admit(self.definition)
        return engine

    async def _start(self) -> None:
        self.saga_id = (await self.engine.start(self.definition, {})).saga_id
        await self._settle()

    async def _settle(self) -> None:
        """Wait until as much is in flight as the model says, and the store says so, too."""
        await self.world.until_waiting(set(self.ran.flying()))
        await until(self._agrees)

    async def _agrees(self) -> bool:
        view = await self.engine.get(self.saga_id)
        steps = [step.state for step in view.steps]
        return view.state is self.ran.state and steps == self.ran.steps

    @precondition(lambda self: self.model is not None and self.model.flying())
    @rule(data=st.data(), outcome=st.sampled_from(("works", "works", "stumbles", "refuses")))
    def an_action_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        index = data.draw(st.sampled_from(self.ran.flying()))
        self.ran.end(index, outcome)

        async def tell() -> None:
            self.world.tell(index, outcome)
            if index in self.ran.flying():  # it starts again, with the same key
                await self._starts_again(index)
            await self._settle()

        self.call(tell)

    async def _starts_again(self, index: int) -> None:
        with anyio.fail_after(60):
            while index not in self.world.waiting:
                self.world.changed = anyio.Event()
                await self.world.changed.wait()

    @precondition(lambda self: self.model is not None and self.model.flying())
    @rule()
    def its_process_ends_and_another_goes_on(self) -> None:
        self.running.close()
        self._run_engine("another")
        self.call(self._settle)

    @precondition(lambda self: self.model is not None and self.model.state is SagaState.RUNNING)
    @rule()
    def it_is_aborted(self) -> None:
        async def abort() -> None:
            await self.engine.abort(self.saga_id, "enough")
            await self._settle()

        self.ran.abort()
        self.call(abort)

    @precondition(lambda self: self.model is not None and self.model.state.is_finished)
    @rule()
    def a_person_has_it_retried(self) -> None:
        allowed = any(step is not C for step in self.ran.steps)
        self._order(
            allowed, self.ran.retry, lambda: self.engine.by_hand.retry(self.saga_id, REASON)
        )

    @precondition(lambda self: self.model is not None and self.model.state.is_finished)
    @rule()
    def a_person_has_it_compensated(self) -> None:
        self._order(True, self.ran.compensate, lambda: self.engine.compensate(self.saga_id, REASON))

    @precondition(lambda self: self.model is not None and not self.model.state.is_finished)
    @rule(kind=st.sampled_from(("retry", "compensate", "rewind", "resolve")))
    def a_person_is_refused_while_it_runs(self, kind: str) -> None:
        by_hand = self.engine.by_hand
        orders: dict[str, Callable[[], Awaitable[object]]] = {
            "retry": lambda: by_hand.retry(self.saga_id, REASON),
            "compensate": lambda: by_hand.compensate(self.saga_id, REASON),
            "rewind": lambda: by_hand.rewind(self.saga_id, REASON, to_step="s0"),
            "resolve": lambda: by_hand.resolve(self.saga_id, REASON),
        }
        self._order(False, lambda: None, orders[kind])

    def _order(
        self, allowed: bool, expect: Callable[[], None], order: Callable[[], Awaitable[object]]
    ) -> None:
        async def give() -> None:
            if not allowed:
                before = await self.engine.audit(self.saga_id)
                with pytest.raises(ConflictError):
                    await order()
                assert await self.engine.audit(self.saga_id) == before
                return
            expect()
            await order()
            await self._settle()

        self.call(give)

    @invariant()
    def the_store_holds_what_the_model_says(self) -> None:
        if self.model is not None:
            self.call(self._compare)

    async def _compare(self) -> None:
        assert await self._agrees()
        view = await self.engine.get(self.saga_id)
        assert len(view.needs_person) == self.ran.for_a_person
        events = await self.engine.audit(self.saga_id)
        assert_fold_gives_the_row(self.definition, view, events)
        assert await self.engine.verify_audit(self.saga_id) == []


async def _prepare(url: str) -> None:
    database = open_engine(url)
    await migrate(database)
    await database.close()


def test_the_engine_does_what_the_model_says(database_url: str) -> None:
    with start_blocking_portal("asyncio") as portal:
        portal.call(_prepare, database_url)
        machine = type("Machine", (Machine,), {"url": database_url, "portal": portal})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=MOST_EXAMPLES, stateful_step_count=15, deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )  # fmt: skip
