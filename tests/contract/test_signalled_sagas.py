"""Signals that start and reach real sagas: rules, the queue's router, and the saga engine."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import anyio
import pytest
from pydantic import JsonValue
from sqlalchemy import select

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.queue import TaskQueue, TaskQueueConfig
from mcp_orchestrator.queue.signals import (
    SignalRouter,
    SignalRule,
    SignalSaga,
    SignalStatus,
    StartSaga,
)
from mcp_orchestrator.runtime.signals import SagasOfSignals
from mcp_orchestrator.saga import EventType, SagaEngine, SagaState
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.saga.dispatcher import KEYS_KEPT
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.sagas import saga_signal_keys
from tests.services.waiting import until

Payload = dict[str, JsonValue]
WAITS: Payload = {
    "name": "go",
    "action": "saga.wait_for_signal",
    "arguments": {"signal": "order.paid"},
}


@pytest.fixture
async def sagas(database: Database) -> AsyncIterator[tuple[SagaEngine, SignalRouter]]:
    async with (
        GroupCommitter(database) as committer,
        TaskQueue(TaskQueueConfig(), database=database, committer=committer) as queue,
        anyio.create_task_group() as tasks,
    ):
        engine = SagaEngine(database, committer, NoActions(), runner_id="r")
        tasks.start_soon(engine.run)
        yield engine, SignalRouter(queue, database, committer, sagas=SagasOfSignals(engine))
        tasks.cancel_scope.cancel()


async def test_a_signal_starts_a_saga_and_another_lets_it_go_on(
    sagas: tuple[SagaEngine, SignalRouter],
) -> None:
    engine, router = sagas
    definition = StartSaga(definition={"name": "ship", "steps": [WAITS]})
    await router.add_rule(SignalRule(name="new", pattern="order.new", target=definition))
    await router.add_rule(SignalRule(name="paid", pattern="order.paid", target=SignalSaga()))
    started = await router.publish("order.new", {"n": 1}, signal_id="s1", owner="ann")
    assert await router.publish("order.new", {"n": 1}, signal_id="s1", owner="ann") == started
    saga_id = started.outcomes[0].id or ""
    assert (await engine.get(saga_id)).user_id == "ann"
    paid: Payload = {"saga_id": saga_id, "by": "card"}
    foreign = await router.publish("order.paid", paid, signal_id="s2", owner="bob")
    assert foreign.status is SignalStatus.FAILED  # another owner's saga is not there
    assert (await router.publish("order.paid", paid, owner="ann")).status is SignalStatus.ROUTED
    done = await engine.wait_for(saga_id, 30)
    assert done.state is SagaState.COMPLETED


async def test_a_signal_of_one_key_reaches_a_saga_once(
    sagas: tuple[SagaEngine, SignalRouter],
) -> None:
    engine, router = sagas
    del router
    door = SagasOfSignals(engine)
    definition: Payload = {"name": "twice", "steps": [WAITS, {**WAITS, "name": "again"}]}
    saga_id = await door.start_saga(definition, {}, key="k", owner=None)
    for _ in range(3):  # as after crashes between sending and noting it
        await door.signal_saga(saga_id, "order.paid", {"n": 1}, key="first", owner=None)
    await door.signal_saga(saga_id, "order.paid", {"n": 2}, key="second", owner=None)
    done = await engine.wait_for(saga_id, 30)
    assert done.state is SagaState.COMPLETED
    trail = await engine.audit(saga_id)
    assert len([event for event in trail if event.event_type == EventType.SIGNAL]) == 2
    await door.signal_saga(saga_id, "order.paid", {"n": 1}, key="first", owner=None)
    with pytest.raises(ConflictError):
        await door.signal_saga(saga_id, "order.paid", {"n": 3}, key="third", owner=None)


class MuchLater:
    """The real time, days on."""

    def now(self) -> datetime:
        return SystemClock().now() + KEYS_KEPT + timedelta(hours=1)

    def monotonic(self) -> float:
        return SystemClock().monotonic()

    async def sleep(self, seconds: float) -> None:
        await SystemClock().sleep(seconds)


async def test_keys_of_signals_are_forgotten_long_after_their_saga_has_finished(
    sagas: tuple[SagaEngine, SignalRouter], database: Database
) -> None:
    engine, router = sagas
    del router
    door = SagasOfSignals(engine)
    ids = [
        await door.start_saga({"name": "kept", "steps": [WAITS]}, {}, key=key, owner=None)
        for key in ("finished", "open")
    ]
    await door.signal_saga(ids[0], "order.paid", {}, key="k", owner=None)
    await door.signal_saga(ids[1], "another", {}, key="k", owner=None)
    await engine.wait_for(ids[0], 30)

    async def keys() -> list[str]:
        async with database.read() as connection:
            found = await connection.execute(select(saga_signal_keys.c.saga_id))
            return sorted(found.scalars())

    assert await keys() == sorted(ids)
    async with (
        GroupCommitter(database) as committer,
        SagaEngine(database, committer, NoActions(), runner_id="later", clock=MuchLater()),
    ):

        async def forgotten() -> bool:
            return await keys() == [ids[1]]

        await until(forgotten)
