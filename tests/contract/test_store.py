"""The store's own promises, on every database."""

import sys

import anyio
import pytest
from sqlalchemy import text

from mcp_orchestrator.errors import BackendUnavailableError, ConflictError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database, open_engine
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


async def test_a_bad_write_fails_only_its_own_caller(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE notes (value INTEGER PRIMARY KEY)"))
    outcomes: dict[int, str] = {}

    async with GroupCommitter(database) as committer, anyio.create_task_group() as tasks:

        async def write(value: int) -> None:
            async def unit(connection: object) -> None:
                await connection.execute(text(f"INSERT INTO notes VALUES ({value % 5})"))  # type: ignore[attr-defined]
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
