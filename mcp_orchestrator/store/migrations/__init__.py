"""Bringing a database to the present schema, once, however many servers start together.

Nearly always it is there already, which is seen without Alembic: importing that takes longer than
all else that a server does with its store before the first answer.
"""

from importlib import import_module
from importlib.resources import files
from typing import Final, Protocol, cast

import anyio
from sqlalchemy import Connection, column, inspect, select, table

from mcp_orchestrator.store.engine import Database

_VERSION: Final = table("alembic_version", column("version_num"))


class _Running(Protocol):
    async def run_migrations(self, database: Database, revision: str, *, upwards: bool) -> None: ...


def latest_revision() -> str:
    """Return the newest revision this program knows; revisions are named by their files."""
    versions = files("mcp_orchestrator.store.migrations") / "versions"
    names = [file.name for file in versions.iterdir() if file.name.endswith(".py")]
    return max(names).partition("_")[0]


async def current_revision(database: Database) -> str | None:
    """Return the revision the database stands at, or None before the first migration."""
    async with database.read() as connection:
        return await connection.run_sync(_revision_of)


async def migrate(database: Database, revision: str = "head") -> None:
    """Upgrade the database to a revision; the first of several callers does it, the rest wait."""
    if database.is_sqlite:
        path = anyio.Path(database.engine.url.database or "orchestrator.db")
        await path.parent.mkdir(parents=True, exist_ok=True)
    wanted = latest_revision() if revision == "head" else revision
    if await current_revision(database) != wanted:
        await _running().run_migrations(database, revision, upwards=True)


async def migrate_down(database: Database, revision: str) -> None:
    """Take the database back to an earlier revision (``"base"`` for an empty one)."""
    await _running().run_migrations(database, revision, upwards=False)


def _revision_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar()


def _running() -> _Running:
    return cast("_Running", import_module("mcp_orchestrator.store.migrations.running"))
