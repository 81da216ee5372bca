"""Every run is a row before its caller sees the result, and the row stays as it is."""

from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import NotFoundError
from mcp_orchestrator.sandbox import (
    ExecutionRequest,
    RunStatus,
    Sandbox,
    TestRequest,
    open_sandbox,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.runs import RunStore
from tests.services.skipping_clock import SkippingClock

HOSTILE = "import os, ctypes, socket\nexec(input())\nos.system('rm -rf /')\n"


@pytest.fixture
async def runs(database: Database) -> AsyncIterator[RunStore]:
    async with GroupCommitter(database) as committer:
        yield RunStore(database, committer)


@pytest.fixture
async def recording(runs: RunStore) -> AsyncIterator[Sandbox]:
    sandbox = await open_sandbox("bubblewrap", clock=SystemClock(), runs=runs)
    yield sandbox
    await sandbox.close()


async def test_a_run_is_recorded_with_what_held(recording: Sandbox, runs: RunStore) -> None:
    request = ExecutionRequest("print('a\\0b')", owner="ann", saga_id="s1", task_id="t1")
    result = await recording.run(request)
    record = await runs.get(result.run_id, owner="ann")
    assert (record.status, record.stdout, record.exit_code) == ("ok", b"a\0b\n", 0)
    assert (record.owner, record.saga_id, record.task_id) == ("ann", "s1", "t1")
    assert record.layers == list(result.layers)
    assert record.limits["processes"] == request.limits.processes
    assert record.started_at <= record.finished_at
    assert len(record.code_hash) == 64


async def test_another_owner_does_not_find_it(recording: Sandbox, runs: RunStore) -> None:
    result = await recording.run(ExecutionRequest("1", owner="ann"))
    with pytest.raises(NotFoundError):
        await runs.get(result.run_id, owner="bob")


async def test_a_sagas_runs_are_found_together(recording: Sandbox, runs: RunStore) -> None:
    first = await recording.run(ExecutionRequest("1", saga_id="s2"))
    report = await recording.run_tests(TestRequest("x = 1", "assert x == 1", saga_id="s2"))
    found = await runs.of_saga("s2")
    assert [record.run_id for record in found] == [first.run_id, report.run.run_id]
    assert [record.kind for record in found] == ["program", "tests"]
    assert found[1].files_hash is not None


async def test_a_refusal_is_recorded_with_its_rules(recording: Sandbox, runs: RunStore) -> None:
    result = await recording.run(ExecutionRequest(HOSTILE))
    assert result.status is RunStatus.REFUSED
    assert (result.backend, result.layers) == ("none", ())
    assert "allow_risky" in result.reason
    record = await runs.get(result.run_id)
    assert record.risk_score == result.risk.score >= 60
    assert {finding["rule"] for finding in record.risk_findings} >= {"native-code", "process"}


async def test_a_risky_program_that_is_allowed_runs_strictly(
    recording: Sandbox, runs: RunStore
) -> None:
    result = await recording.run(
        ExecutionRequest("import ctypes, socket\nprint(1)", allow_risky=True)
    )
    assert (result.status, result.stdout) == (RunStatus.OK, "1\n")
    record = await runs.get(result.run_id)
    assert record.limits["processes"] == 16


async def test_refused_tests_pass_nothing(recording: Sandbox) -> None:
    report = await recording.run_tests(TestRequest(HOSTILE, "assert True"))
    assert report.run.status is RunStatus.REFUSED
    assert not report.all_passed


@pytest.mark.parametrize(
    "statement", ["UPDATE sandbox_runs SET reason = ''", "DELETE FROM sandbox_runs"]
)
async def test_the_database_itself_refuses_changes(
    recording: Sandbox, database: Database, statement: str
) -> None:
    await recording.run(ExecutionRequest("1"))
    with pytest.raises(DBAPIError):
        async with database.write() as connection:
            await connection.execute(text(statement))


async def test_files_and_whole_outputs_are_kept_and_forgotten(
    recording: Sandbox, runs: RunStore
) -> None:
    code = "open('a.txt', 'w').write('made')\nfor n in range(30000): print(f'{n:06}')"
    result = await recording.run(ExecutionRequest(code))
    assert result.stdout_truncated
    whole = (await runs.file(result.run_id, "output", "stdout")).content
    assert whole == b"".join(b"%06d\n" % n for n in range(30000))
    assert (await runs.file(result.run_id, "artifact", "a.txt")).content == b"made"
    record = await runs.get(result.run_id)
    assert [each["path"] for each in record.artifacts] == ["a.txt"]
    with pytest.raises(NotFoundError):
        await runs.file(result.run_id, "artifact", "b.txt")
    await runs.forget_files(record.finished_at + timedelta(seconds=1))
    with pytest.raises(NotFoundError, match="some days"):
        await runs.file(result.run_id, "artifact", "a.txt")
    assert (await runs.get(result.run_id)).artifacts == record.artifacts


async def test_an_endless_output_is_kept_up_to_a_limit(recording: Sandbox, runs: RunStore) -> None:
    code = "for n in range(1000000): print(f'{n:09}')"
    result = await recording.run(ExecutionRequest(code))
    whole = (await runs.file(result.run_id, "output", "stdout")).content
    assert len(whole) < 5 << 20
    assert whole.startswith(b"000000000\n")
    assert whole.endswith(b"000999999\n")
    assert b"bytes left out" in whole


async def _tamper(database: Database, statement: str) -> None:
    """Do what the triggers forbid, as one who owns the database can."""
    async with database.write() as connection:
        if database.engine.dialect.name == "sqlite":
            for event in ("update", "delete"):
                await connection.execute(text(f"DROP TRIGGER IF EXISTS sandbox_runs_no_{event}"))
        else:
            await connection.execute(text("ALTER TABLE sandbox_runs DISABLE TRIGGER ALL"))
        await connection.execute(text(statement))


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE sandbox_runs SET status = 'killed' WHERE sequence = 2", "altered"),
        ("UPDATE sandbox_runs SET stdout = stderr WHERE sequence = 1", "altered"),
        ("DELETE FROM sandbox_runs WHERE sequence = 2", "removed"),
        ("DELETE FROM sandbox_runs WHERE sequence = 4", "cut off"),
        ("DELETE FROM sandbox_run_chains", "head of the chain was removed"),
        ("UPDATE sandbox_run_chains SET sequence = 3", "added at the end"),
    ],
)
async def test_tampering_shows(
    recording: Sandbox, runs: RunStore, database: Database, statement: str, found: str
) -> None:
    for number in range(4):
        await recording.run(ExecutionRequest(f"print({number})", owner="ann"))
    assert await runs.verify() == []
    await _tamper(database, statement)
    wrong = await runs.verify()
    assert len(wrong) >= 1
    assert found in wrong[0].what


async def test_every_writer_has_its_own_chain(
    recording: Sandbox, runs: RunStore, database: Database
) -> None:
    await recording.run(ExecutionRequest("1"))
    async with GroupCommitter(database) as committer:
        other = RunStore(database, committer)
        sandbox = await open_sandbox("bubblewrap", clock=SystemClock(), runs=other)
        await sandbox.run(ExecutionRequest("2"))
        await recording.run(ExecutionRequest("3"))
        await sandbox.close()
    assert await runs.verify() == []


async def test_a_runs_session_is_recorded(recording: Sandbox, runs: RunStore) -> None:
    session = (await recording.open_session(owner="ann")).session_id
    result = await recording.run(ExecutionRequest("1", owner="ann"), session_id=session)
    assert (await runs.get(result.run_id)).session_id == session


async def test_old_files_are_forgotten_while_the_server_runs(
    recording: Sandbox, runs: RunStore
) -> None:
    """The clock skips ahead; what is as old as the setting says goes within the next hour."""
    run = await recording.run(ExecutionRequest("open('a.txt', 'w').write('made')"))
    clock = SkippingClock()
    clock.seconds += (SystemClock().now() - clock.now()).total_seconds()
    keep = timedelta(minutes=30)
    sandbox = await open_sandbox("bubblewrap", clock=clock, runs=runs, warm=0, keep_files=keep)
    assert (await runs.file(run.run_id, "artifact", "a.txt")).content == b"made"
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sandbox.tend)
            while await _is_there(runs, run.run_id):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert sum(clock.slept) >= keep.total_seconds()
    await sandbox.close()


async def _is_there(runs: RunStore, run_id: str) -> bool:
    try:
        await runs.file(run_id, "artifact", "a.txt")
    except NotFoundError:
        return False
    return True
