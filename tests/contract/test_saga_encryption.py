"""Encrypted sagas on both databases: what is on disk, who can read it, rotation and erasure."""

import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import ConfigurationError, ConflictError
from mcp_orchestrator.saga import (
    NO_RETRY,
    EventType,
    JsonObject,
    JsonValue,
    Order,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    StepHandle,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.data_keys import count_by_master_key, rotate_keys
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.master_keys import KeyFile, MasterKeys, key_id, parse_keys
from mcp_orchestrator.store.vault import SagaVault
from tests.services.waiting import until

SECRET = "Marguerite"
WHY = Order("she asked for it", "ann")
OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def vault(*keys: bytes) -> SagaVault:
    return SagaVault(MasterKeys(keys), SystemClock())


async def greet(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    async def look_up() -> JsonValue:
        return f"memo of {arguments['name']}"

    return {"greeting": f"{await handle.memo('look up', look_up)}, {arguments['name']}"}


async def refuse(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    raise OSError(f"there is no {arguments['name']}")


GREETING = SagaDefinition("greeting", "1", (SagaStep("greet", greet, retry=NO_RETRY),))
FAILING = SagaDefinition("failing", "1", (SagaStep("refuse", refuse, retry=NO_RETRY),))
WAIT = SagaStep("wait", "saga.wait_for_signal", arguments={"signal": "go"})
ASKING = SagaDefinition("asking", "1", (*GREETING.steps, WAIT))


def engine(database: Database, committer: GroupCommitter, *keys: bytes) -> SagaEngine:
    made = SagaEngine(
        database, committer, NoActions(), runner_id="t", vault=vault(*keys) if keys else None
    )
    for definition in (GREETING, FAILING, ASKING):
        made.admit(definition)
    return made


async def run(sagas: SagaEngine, definition: SagaDefinition) -> str:
    started = await sagas.start(definition, {"name": SECRET})
    await sagas.wait_for(started.saga_id, 60)
    return started.saga_id


async def stored(database: Database, *tables: str) -> str:
    """Return everything that some tables hold."""
    found: list[Sequence[object]] = []
    async with database.read() as connection:
        for table in tables:
            rows = await connection.execute(text(f"SELECT * FROM {table}"))
            found.extend(tuple(row) for row in rows)
    return repr(found)


async def test_nothing_a_saga_knows_is_on_disk_in_plain_text(
    database: Database, committer: GroupCommitter
) -> None:
    async with engine(database, committer, OLD) as sagas:
        saga_id = await run(sagas, GREETING)
        await run(sagas, FAILING)
        view = await sagas.get(saga_id)
        assert view.results == {"greet": {"greeting": f"memo of {SECRET}, {SECRET}"}}
        events = await sagas.audit(saga_id)
        done = next(event for event in events if event.event_type is EventType.STEP_COMPLETE)
        assert done.event_data["result"] == view.results["greet"]
        assert await sagas.verify_audit(saga_id) == []
    assert SECRET not in await stored(database, "saga_audit_logs", "saga_memos", "saga_keys")
    async with database.read() as connection:
        contexts = (
            await connection.execute(text("SELECT context FROM saga_checkpoints"))
        ).scalars()
        assert all(SECRET not in context for context in contexts.all())


async def test_an_encrypted_saga_goes_on_in_another_process_that_has_the_key(
    database: Database, committer: GroupCommitter
) -> None:
    async with engine(database, committer, OLD) as first:
        saga_id = (await first.start(ASKING, {"name": SECRET})).saga_id

        async def waits() -> bool:
            return (await first.get(saga_id)).steps[1].attempts > 0

        await until(waits)
    async with engine(database, committer) as without:
        with pytest.raises(ConfigurationError, match=f"master key {key_id(OLD)}"):
            await without.get(saga_id)
        plain = await without.start(GREETING, {"name": "nobody"})
        assert (await without.wait_for(plain.saga_id, 60)).state is SagaState.COMPLETED
    async with engine(database, committer, NEW, OLD) as other:
        await other.signal(saga_id, "go", SECRET)
        view = await other.wait_for(saga_id, 60)
        assert (view.state, view.output) == (SagaState.COMPLETED, SECRET)
        assert (await other.get(plain.saga_id)).input == {"name": "nobody"}


async def test_keys_rotate_while_sagas_run(
    database: Database, committer: GroupCommitter, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(OLD.hex())
    keys = KeyFile(file)
    sagas = SagaEngine(
        database, committer, NoActions(), runner_id="t", vault=SagaVault(keys, SystemClock())
    )
    sagas.admit(ASKING)
    async with sagas:
        waiting = [(await sagas.start(ASKING, {"name": SECRET})).saga_id for _ in range(20)]
        file.write_text(f"{NEW.hex()}\n{OLD.hex()}\n")  # the running server sees it by itself
        fresh = (await sagas.start(ASKING, {"name": SECRET})).saga_id
        assert await count_by_master_key(database) == {key_id(OLD): 20, key_id(NEW): 1}
        assert await rotate_keys(database, committer, KeyFile(file)) == 20
        assert await rotate_keys(database, committer, KeyFile(file)) == 0
        file.write_text(NEW.hex())
        for saga_id in (*waiting, fresh):
            await sagas.signal(saga_id, "go")
        for saga_id in (*waiting, fresh):
            assert (await sagas.wait_for(saga_id, 60)).state is SagaState.COMPLETED
            assert await sagas.verify_audit(saga_id) == []
    async with engine(database, committer, NEW) as later:
        assert (await later.get(waiting[0])).input == {"name": SECRET}


async def test_an_erased_saga_cannot_be_read_and_its_trail_still_verifies(
    database: Database, committer: GroupCommitter
) -> None:
    async with engine(database, committer, OLD) as sagas:
        saga_id, kept = await run(sagas, FAILING), await run(sagas, GREETING)
        before = await sagas.audit(saga_id)
        await sagas.by_hand.erase(saga_id, WHY)
        view = await sagas.get(saga_id)
        assert (view.state, view.input, view.error) == (SagaState.FAILED, {}, None)
        events = await sagas.audit(saga_id)
        assert [event.event_type for event in events[:-1]] == [e.event_type for e in before]
        assert all(event.event_data == {"erased": True} for event in events[:-1])
        assert events[-1].event_data == {"reason": WHY.reason, "by": "ann"}
        assert await sagas.verify_audit(saga_id) == []
        assert (await sagas.get(kept)).input == {"name": SECRET}
        for again in (sagas.by_hand.erase(saga_id, WHY), sagas.by_hand.retry(saga_id, WHY)):
            with pytest.raises(ConflictError, match="erased"):
                await again
    for table in ("saga_audit_logs", "saga_checkpoints", "saga_memos", "saga_inbox"):
        rows = await stored(database, f"{table} WHERE saga_id = '{saga_id}'")
        assert SECRET not in rows
    async with database.read() as connection:
        query = text("SELECT saga_id FROM saga_keys WHERE wrapped_key IS NULL")
        assert (await connection.execute(query)).scalars().all() == [saga_id]


async def test_what_is_in_plain_text_or_under_way_is_not_erased(
    database: Database, committer: GroupCommitter
) -> None:
    async with engine(database, committer) as without:
        plain = await run(without, GREETING)
        with pytest.raises(ConflictError, match="not encrypted"):
            await without.by_hand.erase(plain, WHY)
    async with engine(database, committer, OLD) as sagas:
        running = await sagas.start(ASKING, {"name": SECRET})
        with pytest.raises(ConflictError):
            await sagas.by_hand.erase(running.saga_id, WHY)


async def test_sealed_data_that_were_moved_do_not_open(
    database: Database, committer: GroupCommitter
) -> None:
    async with engine(database, committer, OLD) as sagas:
        first, second = await run(sagas, GREETING), await run(sagas, GREETING)
        async with database.write() as connection:
            await connection.execute(
                text(
                    "UPDATE saga_checkpoints SET context = (SELECT context FROM saga_checkpoints "
                    f"WHERE saga_id = '{first}') WHERE saga_id = '{second}'"
                )
            )
        with pytest.raises(ConfigurationError, match="altered"):
            await sagas.get(second)


def test_a_master_key_is_refused_without_being_told(tmp_path: Path) -> None:
    bad = secrets.token_hex(31)
    with pytest.raises(ConfigurationError, match="number 2") as refused:
        parse_keys(f"{OLD.hex()}, {bad}")
    assert bad not in str(refused.value)
    with pytest.raises(ConfigurationError, match="keys"):
        KeyFile(tmp_path / "keys")
