"""Waits that outlast processes, and leases, under a clock that the test sets."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import anyio
import anyio.lowlevel

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.saga import (
    EventType,
    JsonObject,
    JsonValue,
    RetryPolicy,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    SagaView,
    StepHandle,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.leases import claim
from tests.services.waiting import until


class SetClock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self._now = datetime(2030, 1, 1, tzinfo=UTC)
        self._start = self._now
        self._sleepers: list[tuple[datetime, anyio.Event]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        woken = anyio.Event()
        until = self._now + timedelta(seconds=max(seconds, 0))
        if until <= self._now:
            await anyio.lowlevel.checkpoint()
            return
        self._sleepers.append((until, woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        for due, woken in self._sleepers:
            if due <= self._now:
                woken.set()
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].is_set()]


async def reaches(
    engine: SagaEngine, clock: SetClock, saga_id: str, state: SagaState, step: int
) -> SagaView:
    """Move time on in small steps until a saga stands somewhere."""
    with anyio.fail_after(20):
        while True:
            view = await engine.get(saga_id)
            if view.state is state and view.current_step_index == step:
                return view
            clock.advance(0.5)
            await anyio.sleep(0.005)


async def test_a_saga_sleeps_for_days_across_restarts(
    database: Database, committer: GroupCommitter
) -> None:
    clock = SetClock()
    steps = (
        SagaStep("first", "saga.sleep", arguments={"seconds": 86400}),
        SagaStep("second", "saga.sleep", arguments={"until": "2030-01-08T00:00:00+01:00"}),
    )
    definition = SagaDefinition("long", "1", steps)
    began = clock.now()

    def engine() -> SagaEngine:
        return SagaEngine(database, committer, NoActions(), runner_id="t", clock=clock)

    async with engine() as one:
        saga_id = (await one.start(definition, {})).saga_id

        async def parked() -> bool:
            return (await one.get(saga_id)).lease_owner is None

        await until(parked)
    clock.advance(86399)
    async with engine() as two:
        await anyio.sleep(0.05)
        assert (await two.get(saga_id)).current_step_index == 0
        clock.advance(1)
        view = await reaches(two, clock, saga_id, SagaState.RUNNING, 1)
        assert view.wake_at == datetime(2030, 1, 7, 23, tzinfo=UTC)
    clock.advance(7 * 86400)
    async with engine() as three:
        view = await reaches(three, clock, saga_id, SagaState.COMPLETED, 1)
    assert view.finished_at is not None
    assert view.finished_at - began >= timedelta(days=6, hours=23)
    assert view.takeovers == 0


async def test_a_retry_waits_for_its_back_off(
    database: Database, committer: GroupCommitter
) -> None:
    clock, tries = SetClock(), list[datetime]()

    async def flaky(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        tries.append(clock.now())
        if len(tries) < 4:
            raise OSError("no")
        return None

    retry = RetryPolicy(max_attempts=4, first_delay=10, factor=3, max_delay=60, jitter=0)
    definition = SagaDefinition("flaky", "1", (SagaStep("s", flaky, retry=retry),))
    async with SagaEngine(
        database, committer, NoActions(), runner_id="t", clock=clock, lease_seconds=1e6
    ) as engine:
        saga_id = (await engine.start(definition, {})).saga_id
        await reaches(engine, clock, saga_id, SagaState.COMPLETED, 0)
        events = await engine.audit(saga_id)
    gaps = [(b - a).total_seconds() for a, b in pairwise(tries)]
    for gap, delay in zip(gaps, (10, 30, 60), strict=True):
        assert delay <= gap <= delay + 5
    said = [e.event_data["delay_seconds"] for e in events if e.event_type is EventType.STEP_RETRY]
    assert said == [10, 30, 60]


async def test_a_live_lease_is_left_alone_and_a_dead_one_taken(
    database: Database, committer: GroupCommitter
) -> None:
    clock, entered = SetClock(), list[str]()

    async def stay(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        entered.append(handle.idempotency_key)
        return await anyio.sleep_forever() if len(entered) == 1 else None

    definition = SagaDefinition("stay", "1", (SagaStep("s", stay),))

    def engine(name: str) -> SagaEngine:
        # So long a lease is never renewed while this test runs: the holder is silent.
        return SagaEngine(
            database, committer, NoActions(), runner_id=name, clock=clock, lease_seconds=3600
        )

    async with engine("holder") as holder, engine("other") as other:
        other.admit(definition)
        saga_id = (await holder.start(definition, {})).saga_id
        for _ in range(20):
            clock.advance(100)
            await anyio.sleep(0.01)
        assert (await other.get(saga_id)).lease_owner == holder.runner_id
        clock.advance(1700)
        view = await reaches(other, clock, saga_id, SagaState.COMPLETED, 0)
    assert len(entered) == 2
    assert len(set(entered)) == 1
    takeovers = [e for e in await other.audit(saga_id) if e.event_type is EventType.TAKEOVER]
    assert [event.event_data for event in takeovers] == [{"from": holder.runner_id}]
    assert view.epoch == 2


async def test_a_saga_is_not_blamed_for_runners_that_died_before_they_began_it(
    database: Database, committer: GroupCommitter
) -> None:
    async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        return "done"

    definition = SagaDefinition("innocent", "1", (SagaStep("s", act),))
    starter = SagaEngine(database, committer, NoActions(), runner_id="starter")
    saga_id = (await starter.start(definition, {})).saga_id
    for number in range(9):
        name, now = f"dead-{number}", SystemClock().now()
        assert await committer.submit(partial(claim, runner_id=name, saga_ids=[saga_id], now=now))
    assert (await starter.get(saga_id)).takeovers == 8
    async with SagaEngine(database, committer, NoActions(), runner_id="last") as last:
        last.admit(definition)
        view = await last.wait_for(saga_id, 30)
    assert (view.state, view.takeovers) == (SagaState.COMPLETED, 0)
