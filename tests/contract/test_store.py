"""The store's own promises, on every database."""

import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, text

from mcp_orchestrator.errors import BackendUnavailableError, ConflictError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database, open_engine, sqlite_url
from mcp_orchestrator.store.migrations import (
    current_revision,
    latest_revision,
    migrate,
    migrate_down,
)


async def test_migrations_run_up_and_down_and_up(database: Database) -> None:
    assert await current_revision(database) == latest_revision()
    await migrate_down(database, "base")
    assert await current_revision(database) is None
    await migrate(database)
    assert await current_revision(database) == latest_revision()


async def test_several_servers_starting_together_migrate_once(database_url: str) -> None:
    program = (
        "import anyio, sys\n"
        "from mcp_orchestrator.store.engine import open_engine\n"
        "from mcp_orchestrator.store.migrations import migrate\n"
        "anyio.run(migrate, open_engine(sys.argv[1]))\n"
    )
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(anyio.run_process, [sys.executable, "-c", program, database_url])
    opened = open_engine(database_url)
    assert await current_revision(opened) == latest_revision()
    await opened.close()


async def test_concurrent_writes_are_each_durable_when_their_caller_is_released(
    database: Database,
) -> None:
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE notes (value INTEGER PRIMARY KEY)"))
    seen: list[int] = []

    async with GroupCommitter(database) as committer, anyio.create_task_group() as tasks:

        async def write(value: int) -> None:
            await committer.submit(
                lambda connection: connection.execute(text(f"INSERT INTO notes VALUES ({value})"))
            )
            async with database.read() as connection:
                found = await connection.scalar(
                    text(f"SELECT count(*) FROM notes WHERE value = {value}")
                )
            assert found == 1
            seen.append(value)

        for value in range(100):
            tasks.start_soon(write, value)
    assert sorted(seen) == list(range(100))


async def test_a_blocked_event_loop_does_not_hold_the_write_lock_of_sqlite(tmp_path: Path) -> None:
    path, begun = tmp_path / "x.db", threading.Event()
    database = open_engine(sqlite_url(path))
    await migrate(database)

    def unit(connection: Connection) -> None:
        for value in range(3):
            connection.execute(text(f"CREATE TABLE notes_{value} (value INTEGER)"))
            begun.set()

    async with GroupCommitter(database) as committer, anyio.create_task_group() as tasks:
        tasks.start_soon(committer.submit, unit)
        await anyio.wait_all_tasks_blocked()
        assert begun.wait(60)  # from here on the event loop stands still, as under a bad handler
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as neighbour:
            neighbour.execute("BEGIN IMMEDIATE")
            neighbour.execute("INSERT INTO notes_2 VALUES (1)")
            neighbour.execute("COMMIT")
    await database.close()


async def test_a_bad_write_fails_only_its_own_caller(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE notes (value INTEGER PRIMARY KEY)"))
    outcomes: dict[int, str] = {}

    async with GroupCommitter(database) as committer, anyio.create_task_group() as tasks:

        async def write(value: int) -> None:
            def unit(connection: Connection) -> None:
                connection.execute(text(f"INSERT INTO notes VALUES ({value % 5})"))
                if value == 4:
                    raise ConflictError("no")

            try:
                await committer.submit(unit)
                outcomes[value] = "written"
            except (ConflictError, BackendUnavailableError) as error:
                outcomes[value] = error.code

        for value in range(8):
            tasks.start_soon(write, value)
    assert outcomes == {
        0: "written", 1: "written", 2: "written", 3: "written", 4: "conflict",
        5: "backend_unavailable", 6: "backend_unavailable", 7: "backend_unavailable",
    }  # fmt: skip
    with pytest.raises(BackendUnavailableError):
        await committer.submit(lambda connection: connection.execute(text("SELECT 1")))
