"""What the databases themselves refuse, and what tampering looks like."""

from datetime import timedelta

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import StaleLeaseError
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
from mcp_orchestrator.saga.checkpoint import SagaRecord, record_of
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.journal import Journal, Origin
from mcp_orchestrator.saga.states import SAGA_TRANSITIONS
from mcp_orchestrator.store.audit import verify_all, verify_saga
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.leases import claim, renew_lease
from mcp_orchestrator.store.migrations import current_revision, migrate, migrate_down
from mcp_orchestrator.store.sagas import read_checkpoint


async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    return {"n": 1.0, "step": handle.step_name}


DEFINITION = SagaDefinition("kept", "1", (SagaStep("one", act, act), SagaStep("two", act)))


@pytest.fixture
async def finished(database: Database, committer: GroupCommitter) -> str:
    """The id of a saga that completed."""
    async with SagaEngine(database, committer, NoActions(), runner_id="test") as engine:
        started = await engine.start(DEFINITION, {"user": "ann"})
        view = await engine.wait_for(started.saga_id, 20)
    assert view.state is SagaState.COMPLETED
    return view.saga_id


async def execute(database: Database, sql: str) -> None:
    async with database.write() as connection:
        await connection.execute(text(sql))


async def test_the_audit_trail_cannot_be_changed(database: Database, finished: str) -> None:
    statements = [
        "UPDATE saga_audit_logs SET event_type = 'saga_failed'",
        "DELETE FROM saga_audit_logs WHERE sequence = 2",
    ]
    if not database.is_sqlite:
        statements.append("TRUNCATE saga_audit_logs")
    for sql in statements:
        with pytest.raises(DBAPIError, match="append-only"):
            await execute(database, sql)


@pytest.mark.parametrize("before", SagaState)
async def test_the_database_refuses_what_the_table_does_not_have(
    database: Database, committer: GroupCommitter, before: SagaState
) -> None:
    journal = Journal(committer, SystemClock(), "test")
    for after in SagaState:
        saga_id = f"{before}-{after}"
        await journal.create(saga_id, DEFINITION, {}, Origin(), [], leased=False)
        for state in (SagaState.RUNNING, before) if before is not SagaState.IDLE else ():
            await execute(database, _set_state(saga_id, state))
        change = _set_state(saga_id, after)
        if after is before or after in SAGA_TRANSITIONS[before]:
            await execute(database, change)
        else:
            with pytest.raises(DBAPIError, match="not in the table"):
                await execute(database, change)
    with pytest.raises(DBAPIError):
        await execute(database, "UPDATE saga_checkpoints SET state = 'odd'")


def _set_state(saga_id: str, state: SagaState) -> str:
    finished = "CURRENT_TIMESTAMP" if state.is_finished else "NULL"
    return (
        f"UPDATE saga_checkpoints SET state = '{state}', finished_at = {finished} "
        f"WHERE saga_id = '{saga_id}'"
    )


TAMPERINGS = {
    "altered": "UPDATE saga_audit_logs SET event_data = '{{}}' "
    "WHERE saga_id = '{0}' AND sequence = 3",
    "removed": "DELETE FROM saga_audit_logs WHERE saga_id = '{0}' AND sequence = 3",
    "cut off": "DELETE FROM saga_audit_logs WHERE saga_id = '{0}' AND sequence = 6",
    "reordered": "UPDATE saga_audit_logs SET sequence = CASE sequence WHEN 3 THEN 9 "
    "WHEN 4 THEN 3 ELSE sequence END WHERE saga_id = '{0}'",
    "inserted": "INSERT INTO saga_audit_logs (saga_id, sequence, event_type, event_data, "
    "timestamp, saga_state_before, saga_state_after, retry_count, runner_id, epoch, hash) "
    "SELECT saga_id, 7, "
    "event_type, event_data, timestamp, saga_state_before, saga_state_after, retry_count, "
    "runner_id, epoch, hash FROM saga_audit_logs WHERE saga_id = '{0}' AND sequence = 6",
    "backdated": "UPDATE saga_audit_logs SET duration_ms = 0.5 "
    "WHERE saga_id = '{0}' AND sequence = 3",
    "all gone": "DELETE FROM saga_audit_logs WHERE saga_id = '{0}'",
    "row gone": "DELETE FROM saga_checkpoints WHERE saga_id = '{0}'",
    "head set back": "UPDATE saga_checkpoints SET audit_sequence = 5 WHERE saga_id = '{0}'",
}


async def drop_triggers(database: Database) -> None:
    tables = {"saga_audit_logs_no_update": "saga_audit_logs"}
    tables["saga_audit_logs_no_delete"] = "saga_audit_logs"
    for trigger, table in tables.items():
        on = "" if database.is_sqlite else f" ON {table}"
        await execute(database, f"DROP TRIGGER IF EXISTS {trigger}{on}")


@pytest.mark.parametrize("kind", TAMPERINGS)
async def test_tampering_is_found(database: Database, finished: str, kind: str) -> None:
    await drop_triggers(database)
    async with database.read() as connection:
        assert await verify_saga(connection, finished) == []
    await execute(database, TAMPERINGS[kind].format(finished))
    async with database.read() as connection:
        found = await verify_saga(connection, finished)
        everything = [tampering async for tampering in verify_all(connection)]
    assert found != []
    assert everything == found
    if kind in {"altered", "removed", "reordered", "backdated"}:
        assert found[0].sequence == 3
    if kind in {"altered", "backdated"}:
        assert len(found) == 1


async def load(database: Database, saga_id: str) -> SagaRecord:
    async with database.read() as connection:
        row = await read_checkpoint(connection, saga_id)
    return record_of(row, DEFINITION)


def step_start() -> SagaEvent:
    return SagaEvent(EventType.STEP_START, SystemClock().now(), 0)


async def test_a_late_writer_is_refused_and_changes_nothing(
    database: Database, committer: GroupCommitter
) -> None:
    mine, theirs = (Journal(committer, SystemClock(), name) for name in ("mine", "theirs"))
    record = await mine.create("s", DEFINITION, {}, Origin(), [], leased=True)
    taken = await committer.submit(lambda c: claim(c, "theirs", ["s"], SystemClock().now()))
    assert taken == {"s": "mine"}
    with pytest.raises(StaleLeaseError):
        await mine.append(record, [step_start()])
    with pytest.raises(StaleLeaseError):
        await mine.append(record, [], memo=("m", 1))
    with pytest.raises(StaleLeaseError):
        await mine.park(record)
    now = await load(database, "s")
    assert (now.epoch, now.sequence, now.takeovers) == (2, 1, 1)
    now = await theirs.append(now, [step_start()])
    assert await load(database, "s") == now


async def test_of_several_runners_one_gets_a_free_saga(
    database: Database, committer: GroupCommitter
) -> None:
    """Rounds of new runners, whose leases the others' statements began too early to see."""
    journal = Journal(committer, SystemClock(), "starter")
    for turn in range(20):
        ids = [f"s{turn}-{number}" for number in range(4)]
        for saga_id in ids:
            await journal.create(saga_id, DEFINITION, {}, Origin(), [], leased=False)
        taken: list[str] = []

        async def grab(runner: str, ids: list[str], taken: list[str]) -> None:
            async with database.write() as connection:
                now = SystemClock().now()
                await connection.run_sync(renew_lease, runner, now + timedelta(seconds=60))
                got = await connection.run_sync(claim, runner, ids, now)
            taken.extend(got)

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(grab, f"r{turn}-{number}", ids, taken)
        assert sorted(taken) == ids


async def test_a_stale_write_fails_alone_in_its_group(
    database: Database, committer: GroupCommitter
) -> None:
    journal = Journal(committer, SystemClock(), "mine")
    records = [
        (await journal.create(f"s{n}", DEFINITION, {}, Origin(), [], leased=True))
        for n in range(10)
    ]
    await execute(database, "UPDATE saga_checkpoints SET epoch = 9 WHERE saga_id = 's4'")
    refused: list[str] = []

    async def write(record: SagaRecord) -> None:
        try:
            await journal.append(record, [step_start()])
        except StaleLeaseError:
            refused.append(record.saga_id)

    async with anyio.create_task_group() as tasks:
        for record in records:
            tasks.start_soon(write, record)
    assert refused == ["s4"]
    assert [(await load(database, r.saga_id)).sequence for r in records] == [
        1 if n == 4 else 2 for n in range(10)
    ]


async def test_a_write_whose_answer_was_lost_is_not_done_twice(
    database: Database, committer: GroupCommitter
) -> None:
    journal = Journal(committer, SystemClock(), "mine")
    record = await journal.create("s", DEFINITION, {}, Origin(), [], leased=True)
    event = step_start()
    after = (await journal.append(record, [event]))._replace(row={})
    assert (await journal.append(record, [event]))._replace(row={}) == after
    assert (await load(database, "s"))._replace(row={}) == after


async def test_migration_goes_down_and_up_with_data_in_it(
    database: Database, finished: str
) -> None:
    await migrate_down(database, "base")
    await migrate(database)
    assert await current_revision(database) is not None
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM saga_checkpoints")) == 0
