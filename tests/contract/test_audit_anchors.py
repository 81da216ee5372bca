"""Signed anchors of the audit trail, on both databases."""

from datetime import timedelta
from functools import partial

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.runtime.anchoring import anchor_for_ever
from mcp_orchestrator.saga import JsonObject, JsonValue, SagaEngine, SagaStep, StepHandle
from mcp_orchestrator.saga import SagaDefinition as Definition
from mcp_orchestrator.store.anchors import AnchorKey, last_anchor, verify_anchors, write_anchor
from mcp_orchestrator.store.audit import verify_all
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database

KEY, OTHER = AnchorKey(b"0123456789abcdef"), AnchorKey(b"fedcba9876543210")


async def nothing(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    return None


async def run_sagas(engine: SagaEngine, count: int) -> list[str]:
    definition = Definition("anchored", "1", (SagaStep("only", nothing),))
    ids = [(await engine.start(definition, {})).saga_id for _ in range(count)]
    for saga_id in ids:
        await engine.wait_for(saga_id, 20)
    return ids


async def execute(database: Database, statement: str) -> None:
    async with database.write() as connection:
        await connection.execute(text(statement))


async def unguard(database: Database, table: str) -> None:
    if database.is_sqlite:
        for verb in ("update", "delete"):
            await execute(database, f"DROP TRIGGER {table}_no_{verb}")
    else:
        await execute(database, f"ALTER TABLE {table} DISABLE TRIGGER ALL")


async def faults(database: Database, key: AnchorKey = KEY) -> list[str]:
    return [fault async for fault in verify_anchors(database, key)]


async def test_anchors_cover_every_event_once(
    database: Database, committer: GroupCommitter, engine: SagaEngine
) -> None:
    clock = SystemClock()
    assert await write_anchor(database, committer, KEY, clock) is None
    await run_sagas(engine, 3)
    first = await write_anchor(database, committer, KEY, clock)
    assert await write_anchor(database, committer, KEY, clock) is None
    await run_sagas(engine, 2)
    assert first != await write_anchor(database, committer, KEY, clock)
    await run_sagas(engine, 1)  # what no anchor covers yet is no fault
    assert await faults(database) == []
    assert "another key" in (await faults(database, OTHER))[0]


@pytest.mark.parametrize("table", ["saga_audit_logs", "saga_checkpoints", "both"])
async def test_a_whole_saga_that_is_gone_is_found(
    database: Database, committer: GroupCommitter, engine: SagaEngine, table: str
) -> None:
    ids = await run_sagas(engine, 3)
    await write_anchor(database, committer, KEY, SystemClock())
    await unguard(database, "saga_audit_logs")
    for gone in ("saga_audit_logs", "saga_checkpoints"):
        if table in {gone, "both"}:
            await execute(database, f"DELETE FROM {gone} WHERE saga_id = '{ids[1]}'")
    found = await faults(database)
    assert bool(found) is (table != "saga_checkpoints")  # that one the saga's own chain finds


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM saga_anchors WHERE first_id = 1",
        "UPDATE saga_anchors SET events = events + 1 WHERE first_id = 1",
        "UPDATE saga_anchors SET last_id = last_id - 1 WHERE first_id = 1",
        "UPDATE saga_anchors SET key_id = 'x' WHERE first_id = 1",
    ],
)
async def test_a_forged_anchor_is_found(
    database: Database, committer: GroupCommitter, engine: SagaEngine, change: str
) -> None:
    for _ in range(2):
        await run_sagas(engine, 1)
        await write_anchor(database, committer, KEY, SystemClock())
    with pytest.raises(DBAPIError, match="append-only"):
        await execute(database, change)
    await unguard(database, "saga_anchors")
    await execute(database, change)
    assert await faults(database)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="3 bytes"):
        AnchorKey(b"abc")


class Paced(SystemClock):
    """A clock whose sleeps end when the test says so."""

    def __init__(self) -> None:
        self.asleep, self.go = anyio.Event(), anyio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await self.go.wait()
        self.go = anyio.Event()

    async def round(self) -> None:
        """Let the next sleep end and wait for the one after it."""
        self.asleep = anyio.Event()
        self.go.set()
        await self.asleep.wait()


async def test_a_server_signs_what_has_happened_since(
    database: Database, committer: GroupCommitter, engine: SagaEngine
) -> None:
    clock = Paced()
    removed = ""
    await run_sagas(engine, 1)
    async with anyio.create_task_group() as tasks:
        work = partial(anchor_for_ever, database, committer, KEY, clock, every=0.0)
        tasks.start_soon(work)
        await clock.asleep.wait()
        first = await last_anchor(database)
        await clock.round()
        assert await last_anchor(database) == first
        (removed,) = await run_sagas(engine, 1)
        await clock.round()
        assert await last_anchor(database) != first
        tasks.cancel_scope.cancel()
    assert await faults(database) == []
    await unguard(database, "saga_audit_logs")
    for table in ("saga_audit_logs", "saga_checkpoints"):
        await execute(database, f"DELETE FROM {table} WHERE saga_id = '{removed}'")
    async with database.read() as connection:
        assert [place async for place in verify_all(connection)] == []  # the chains miss nothing
    assert len(await faults(database)) == 1


async def test_of_several_servers_one_signs(
    database: Database, committer: GroupCommitter, engine: SagaEngine
) -> None:
    await run_sagas(engine, 1)
    assert await write_anchor(database, committer, KEY, SystemClock()) is not None
    await run_sagas(engine, 1)
    young = timedelta(days=1)
    assert await write_anchor(database, committer, KEY, SystemClock(), not_within=young) is None
