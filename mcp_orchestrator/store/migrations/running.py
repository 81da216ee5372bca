"""Running Alembic's migrations, once, however many servers start together."""

from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from anyio import to_thread
from filelock import FileLock
from sqlalchemy import Connection, text

from mcp_orchestrator.store.engine import Database

_ADVISORY_LOCK = 0x6D63_706F  # "mcpo"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    location = files("mcp_orchestrator.store.migrations")
    config.set_main_option("script_location", str(location))
    config.attributes["connection"] = connection
    return config


async def run_migrations(database: Database, revision: str, *, upwards: bool) -> None:
    """Move the database to a revision; the first of several callers does it, the rest wait.

    Args:
        database: the database to move.
        revision: its name, ``head`` for the newest, ``base`` for an empty database.
        upwards: whether the revision is a later one.
    """

    def run(connection: Connection) -> None:
        move = command.upgrade if upwards else command.downgrade
        move(_config(connection), revision)

    if not database.is_sqlite:
        async with database.write() as connection:
            lock = text("SELECT pg_advisory_xact_lock(:key)")
            await connection.execute(lock, {"key": _ADVISORY_LOCK})
            await connection.run_sync(run)
        return
    path = Path(database.engine.url.database or "orchestrator.db")
    lock_file = FileLock(path.with_name(path.name + ".lock"), thread_local=False)
    await to_thread.run_sync(lock_file.acquire)
    try:
        async with database.engine.connect() as connection:
            await connection.run_sync(_enable_wal)
        async with database.write() as connection:
            await connection.run_sync(run)
    finally:
        lock_file.release()


def _enable_wal(connection: Connection) -> None:
    """Switch the file to write-ahead logging, which no open transaction allows."""
    connection.connection.cursor().execute("PRAGMA journal_mode = WAL")
