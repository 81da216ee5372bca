"""The connection to PostgreSQL breaks at a COMMIT: before it is heard, or after it is done."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime

import anyio
import pytest
from sqlalchemy import Connection, func, insert, select

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import BackendUnavailableError, BusinessRefusalError
from mcp_orchestrator.saga import (
    JsonObject,
    JsonValue,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    StepHandle,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database, open_engine
from mcp_orchestrator.store.migrations import migrate
from mcp_orchestrator.store.schema.sagas import saga_checkpoints, saga_inbox
from tests.services.cutting_proxy import Cut, CuttingProxy, cutting_proxy
from tests.services.postgres_server import PostgresServer


class HastyClock:
    """The real time; only what sleeps by this clock wakes a hundred times as soon."""

    def now(self) -> datetime:
        return SystemClock().now()

    def monotonic(self) -> float:
        return SystemClock().monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(seconds, 0.0) / 100)


class Effects:
    """What the steps did, with the key each was given."""

    def __init__(self) -> None:
        self.done = Counter[str]()

    async def act(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        async def pay() -> JsonValue:
            self.done[f"{handle.idempotency_key} paid"] += 1
            return "receipt"

        await handle.memo("payment", pay)
        self.done[handle.idempotency_key] += 1
        return None

    async def undo(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.done[handle.idempotency_key] += 1
        return None

    async def refuse(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        raise BusinessRefusalError("no")

    def definition(self) -> SagaDefinition:
        steps = (SagaStep("a", self.act, self.undo), SagaStep("b", self.undo, self.undo))
        return SagaDefinition("cut", "1", (*steps, SagaStep("c", self.refuse)))

    def of(self, saga_id: str) -> dict[str, int]:
        """Return how often each effect of a saga happened."""
        named = {key: count for key, count in self.done.items() if key.startswith(saga_id)}
        return {key.removeprefix(f"{saga_id}:"): count for key, count in named.items()}


EFFECTS = {"a paid", "a", "b", "b:compensation", "a:compensation"}


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[CuttingProxy]:
    """A proxy before the real server."""
    async with cutting_proxy(postgres_server.port) as opened:
        yield opened


@pytest.fixture
async def through_proxy(
    postgres_server: PostgresServer, proxy: CuttingProxy
) -> AsyncIterator[Database]:
    """A migrated database, reached through the proxy."""
    url = postgres_server.create_database()
    database = open_engine(url.replace(f":{postgres_server.port}/", f":{proxy.port}/"))
    await migrate(database)
    yield database
    await database.close()


async def start(engine: SagaEngine, effects: Effects, key: str) -> str:
    """Start a saga, and ask again with the same key where no answer came."""
    while True:
        try:
            return (await engine.start(effects.definition(), {}, idempotency_key=key)).saga_id
        except BackendUnavailableError:
            await anyio.lowlevel.checkpoint()


async def count_sagas(database: Database, key: str) -> int:
    query = select(func.count()).where(saga_checkpoints.c.idempotency_key == key)
    async with database.read() as connection:
        return await connection.scalar(query) or 0


@pytest.mark.parametrize("side", Cut)
async def test_a_connection_cut_at_any_commit_neither_loses_nor_doubles_anything(
    through_proxy: Database, proxy: CuttingProxy, side: Cut
) -> None:
    """A saga for each commit that a saga has; the cut falls on one after the other."""
    effects = Effects()
    async with (
        GroupCommitter(through_proxy) as committer,
        SagaEngine(
            through_proxy, committer, NoActions(), runner_id="t", lease_seconds=6000,
            clock=HastyClock(),
        ) as engine,
    ):  # fmt: skip
        cut_at = 0
        while True:
            cut_at += 1
            proxy.arm(cut_at, side)
            key = f"{side}-{cut_at}"
            saga_id = await start(engine, effects, key)
            view = await engine.wait_for(saga_id, 60)
            assert view.state is SagaState.FAILED, f"cut {side} commit {cut_at}"
            assert view.compensated_steps == ["a", "b"]
            assert await count_sagas(through_proxy, key) == 1
            assert await engine.verify_audit(saga_id) == []
            happened = effects.of(saga_id)
            assert set(happened) == EFFECTS
            if side is Cut.AFTER_COMMIT:
                assert set(happened.values()) == {1}, f"cut {side} commit {cut_at}"
            else:  # what was done was not written down: it is done once more, with the same key
                assert sum(happened.values()) <= len(EFFECTS) + 1
            if not proxy.was_cut:
                proxy.arm(0, side)
                break
    assert cut_at >= 8  # the start, a memo, three steps, two compensations; one without a cut


async def test_a_saga_started_without_an_answer_is_run_all_the_same(
    through_proxy: Database, proxy: CuttingProxy
) -> None:
    effects = Effects()
    async with (
        GroupCommitter(through_proxy) as committer,
        SagaEngine(
            through_proxy, committer, NoActions(), runner_id="t", lease_seconds=6000,
            clock=HastyClock(),
        ) as engine,
    ):  # fmt: skip
        proxy.arm(1, Cut.AFTER_COMMIT)
        with pytest.raises(BackendUnavailableError):
            await engine.start(effects.definition(), {})  # and no key to ask again with
        (view,) = await engine.list_sagas()
        view = await engine.wait_for(view.saga_id, 60)
    assert view.state is SagaState.FAILED
    assert set(effects.of(view.saga_id).values()) == {1}


async def test_writes_of_a_group_whose_commit_was_not_answered_are_not_done_again(
    through_proxy: Database, proxy: CuttingProxy
) -> None:
    """Those who hand in a unit of their own are told; nothing is there twice."""
    refused: list[int] = []

    def send(connection: Connection, number: int) -> None:
        row = {"saga_id": f"s{number}", "kind": "signal", "body": "nothing", "sent_at": now}
        connection.execute(insert(saga_inbox).values(row))

    now = SystemClock().now()
    async with GroupCommitter(through_proxy) as committer:

        async def submit(number: int) -> None:
            try:
                await committer.submit(lambda connection: send(connection, number))
            except BackendUnavailableError:
                refused.append(number)

        await submit(0)
        proxy.arm(1, Cut.AFTER_COMMIT)
        async with anyio.create_task_group() as tasks:
            for number in range(1, 11):
                tasks.start_soon(submit, number)
    async with through_proxy.read() as connection:
        there = (await connection.execute(select(saga_inbox.c.saga_id))).scalars().all()
    assert proxy.was_cut or proxy.commits < 2
    assert len(there) == len(set(there)) == 11
    assert len(refused) == 10
