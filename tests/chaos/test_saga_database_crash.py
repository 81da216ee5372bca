"""PostgreSQL crashes and comes back while sagas run; the disk of SQLite is full."""

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection

from mcp_orchestrator.errors import BackendUnavailableError
from mcp_orchestrator.saga import (
    JsonObject,
    JsonValue,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    SagaView,
    StepHandle,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine, sqlite_url
from mcp_orchestrator.store.migrations import migrate
from tests.conftest import require
from tests.services.postgres_server import PostgresServer, start_postgres
from tests.services.process import await_ready


class Effects:
    """What the steps did; ``under_way`` happens once there are 30 effects."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.under_way = anyio.Event()

    async def act(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        await anyio.sleep(0.05)
        self.done.append((handle.saga_id, handle.step_name))
        if len(self.done) == 30:
            self.under_way.set()
        return None

    def definition(self) -> SagaDefinition:
        steps = tuple(SagaStep(f"s{n}", self.act) for n in range(5))
        return SagaDefinition("crash", "1", steps)


@pytest.fixture
def crashing_postgres(service_folder: Path) -> Iterator[PostgresServer]:
    folder = service_folder / "crashing"
    folder.mkdir()
    server = require(lambda: start_postgres(folder))
    yield server
    server.stop()


def restart(server: PostgresServer) -> None:
    """Start the same cluster again, as the user that owns its files."""
    owner = pwd.getpwuid((server.folder / "data").stat().st_uid)
    other = owner.pw_uid != os.geteuid()
    log = server.folder / "postgres.log"
    with log.open("ab") as output:
        server.process = subprocess.Popen(
            server.process.args, stdout=output, stderr=output, cwd=server.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            user=owner.pw_uid if other else None, group=owner.pw_gid if other else None,
        )  # fmt: skip

    def answers() -> bool:
        command = [f"{server.binaries}/psql", "-qXc", "SELECT 1", server.url()]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    await_ready(server.process, answers, log)


async def test_sagas_outlive_a_crash_of_postgresql(crashing_postgres: PostgresServer) -> None:
    server, effects = crashing_postgres, Effects()
    database = open_engine(server.create_database())
    await migrate(database)
    async with (
        GroupCommitter(database) as committer,
        SagaEngine(database, committer, NoActions(), runner_id="t", lease_seconds=2) as engine,
    ):
        started = [await engine.start(effects.definition(), {}) for _ in range(20)]
        with anyio.fail_after(90):
            await effects.under_way.wait()
        server.process.send_signal(signal.SIGQUIT)  # an immediate shutdown is a crash
        server.process.wait()
        with pytest.raises(BackendUnavailableError):
            await engine.start(effects.definition(), {})
        await anyio.to_thread.run_sync(restart, server)
        with anyio.fail_after(120):
            views = [await finished(engine, saga.saga_id) for saga in started]
        for view in views:
            assert view.state is SagaState.COMPLETED
            assert {step for saga_id, step in effects.done if saga_id == view.saga_id} == {
                f"s{n}" for n in range(5)
            }
            assert await engine.verify_audit(view.saga_id) == []
    await database.close()


async def finished(engine: SagaEngine, saga_id: str) -> SagaView:
    while True:
        try:
            view = await engine.wait_for(saga_id, 60)
        except Exception:  # the pool may still hold a connection to the server that crashed
            await anyio.sleep(0.1)
            continue
        return view


async def test_a_full_disk_is_an_error_and_never_a_false_success(tmp_path: Path) -> None:
    database = open_engine(sqlite_url(tmp_path / "small.db"))
    await migrate(database)
    async with GroupCommitter(database) as committer:
        engine = SagaEngine(database, committer, NoActions(), runner_id="t")
        definition = Effects().definition()
        kept = [(await engine.start(definition, {"n": n})).saga_id for n in range(3)]
        await fill_disk(committer)
        accepted = list(kept)
        refused = 0
        while refused < 3:
            try:
                view = await engine.start(definition, {"x": "y" * 2000})
            except BackendUnavailableError:
                refused += 1
            else:
                accepted.append(view.saga_id)
        there = {view.saga_id for view in await engine.list_sagas(limit=2000)}
        assert there == set(accepted)
    await database.close()


async def fill_disk(committer: GroupCommitter) -> None:
    """Let SQLite find no more room: its own page limit gives the same error as a full disk."""

    def limit(connection: Connection, items: Sequence[int]) -> Sequence[int]:
        connection.exec_driver_sql("PRAGMA max_page_count = 60")
        return items

    await committer.submit_to(limit, 0)
