"""A process that kills itself right before, or right after, its so-manieth COMMIT.

What counts commits is the driver's connection, a subclass that SQLAlchemy is given to open: our
own code runs as it is.
"""

import os
import signal
import sqlite3
from dataclasses import dataclass
from typing import Any

import anyio
import asyncpg
from sqlalchemy import Engine, event

from mcp_orchestrator.saga import SagaDefinition, SagaEngine
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine
from tests.chaos.saga_process import Outside


@dataclass
class Fuse:
    """Burns down by one at each COMMIT.

    Attributes:
        length: at which COMMIT the process dies; 0 for never.
        before: whether it dies before the database hears of it, or once it is done.
        commits: how many there have been.
    """

    length: int = 0
    before: bool = False
    commits: int = 0

    def reach(self) -> None:
        """Count a COMMIT that is about to be made."""
        self.commits += 1
        self._burn(before=True)

    def passed(self) -> None:
        """Note that it is on disk, and nobody knows yet."""
        self._burn(before=False)

    def _burn(self, *, before: bool) -> None:
        if self.commits == self.length and before is self.before:
            os.kill(os.getpid(), signal.SIGKILL)


#: One for each process, since the drivers make the connections.
FUSE = Fuse()


class SqliteConnection(sqlite3.Connection):
    """A connection to SQLite whose commits burn the fuse."""

    def commit(self) -> None:
        FUSE.reach()
        super().commit()
        FUSE.passed()


class PostgresConnection(asyncpg.Connection):
    """A connection to PostgreSQL whose commits burn the fuse."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        plainly: Any = asyncpg.Connection  # whose own types are incomplete
        if not query.startswith("COMMIT"):
            return await plainly.execute(self, query, *args, timeout=timeout)
        FUSE.reach()
        answer: str = await plainly.execute(self, query, *args, timeout=timeout)
        FUSE.passed()
        return answer


def _connect(dialect: Any, _record: object, _given: object, options: dict[str, Any]) -> None:
    if dialect.driver == "pysqlite":
        options["factory"] = SqliteConnection
    elif dialect.driver == "asyncpg":
        options["connection_class"] = PostgresConnection


async def _run(url: str, effects: str, definition: SagaDefinition, key: str) -> None:
    database = open_engine(url)
    async with (
        GroupCommitter(database) as committer,
        SagaEngine(
            database, committer, Outside(effects), runner_id=f"p{os.getpid()}", lease_seconds=600
        ) as engine,
    ):
        view = await engine.start(definition, {}, idempotency_key=key)
        await engine.wait_for(view.saga_id, 60)
    await database.close()


def run_saga(
    url: str, effects: str, definition: SagaDefinition, key: str, length: int, before: bool
) -> None:
    """Start or go on with the saga of a key, in a process of its own, until it is finished.

    Args:
        url: the database, migrated.
        effects: the file of effects.
        definition: what is started.
        key: its idempotency key.
        length: at which COMMIT to die; 0 for never.
        before: whether to die before it is made, or right after.
    """
    FUSE.length, FUSE.before = length, before
    event.listen(Engine, "do_connect", _connect)
    anyio.run(_run, url, effects, definition, key)
