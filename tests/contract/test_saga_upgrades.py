"""Sagas that older releases began are finished by this one, whatever the schema was meanwhile."""

from functools import partial

import pytest
from sqlalchemy import text

from mcp_orchestrator.saga import (
    JsonObject,
    JsonValue,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    StepHandle,
    StepState,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.audit import verify_all
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.migrations import migrate, migrate_down
from tests.services.waiting import until


async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    async def once() -> JsonValue:
        return handle.idempotency_key

    return await handle.memo(f"{handle.step_name} once", once)


async def fail(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    raise ValueError("no")


WAITS = SagaStep("wait", "saga.wait_for_signal", arguments={"signal": "go"})
GOOD = SagaDefinition("good", "1", (SagaStep("a", act, act), WAITS, SagaStep("b", act)))
BAD = SagaDefinition("bad", "1", (SagaStep("a", act, act), WAITS, SagaStep("b", fail)))


async def is_waiting(engine: SagaEngine, saga_id: str) -> bool:
    return (await engine.get(saga_id)).steps[1].state is StepState.EXECUTING


async def count(database: Database, table: str) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


@pytest.mark.parametrize("oldest", ["0001", "0008", "0012"])
async def test_a_saga_outlives_the_way_down_to_an_old_schema_and_up_again(
    database: Database, oldest: str
) -> None:
    """Everything an old release knew of: the checkpoint, its trail, its memos."""
    async with (
        GroupCommitter(database) as committer,
        SagaEngine(database, committer, NoActions(), runner_id="old") as engine,
    ):
        done = await engine.start(GOOD, {"n": 1})
        await engine.signal(done.saga_id, "go")
        await engine.wait_for(done.saga_id, 60)
        begun = [await engine.start(definition, {"n": 1}) for definition in (GOOD, BAD)]
        for saga in begun:
            await until(partial(is_waiting, engine, saga.saga_id))
    tables = ("saga_checkpoints", "saga_audit_logs", "saga_memos", "saga_definitions")
    before = [await count(database, table) for table in tables]
    await migrate_down(database, oldest)
    assert [await count(database, table) for table in tables] == before
    await migrate(database)
    assert [await count(database, table) for table in tables] == before
    async with (
        GroupCommitter(database) as committer,
        SagaEngine(database, committer, NoActions(), runner_id="new") as engine,
    ):
        for definition in (GOOD, BAD):
            engine.admit(definition)
        for saga in begun:
            await engine.signal(saga.saga_id, "go")
        states = [(await engine.wait_for(saga.saga_id, 60)).state for saga in begun]
        assert states == [SagaState.COMPLETED, SagaState.FAILED]
        assert (await engine.get(done.saga_id)).state is SagaState.COMPLETED
    async with database.read() as connection:
        assert [found async for found in verify_all(connection)] == []
