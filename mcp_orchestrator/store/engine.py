"""Opening the store: SQLite (WAL, synchronous FULL) or PostgreSQL, one code path above."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from mcp_orchestrator.errors import ConfigurationError

#: How long a writer waits for another process's write, in milliseconds.
BUSY_TIMEOUT_MS = 30_000

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


def sqlite_url(path: Path) -> str:
    """Return the database URL of an SQLite file."""
    return f"sqlite+aiosqlite:///{path}"


def normalise_url(database_url: str) -> URL:
    """Parse a database URL and choose the async driver for it.

    Raises:
        ConfigurationError: the URL is malformed or names a database we do not support.
    """
    remedy = "Use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise ConfigurationError("DATABASE_URL is not a URL.", remedy=remedy) from error
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ConfigurationError(
            f"DATABASE_URL names {url.drivername!r}, which is not supported.", remedy=remedy
        )
    return url.set(drivername=driver)


class Database:
    """An engine and the two ways to use it: ``read`` and ``write``.

    Writers on SQLite take the write lock when they begin (``BEGIN IMMEDIATE``), so that a
    transaction that has read never fails later because another process wrote in between.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncConnection]:
        """Give a connection for reading; what it sees is one consistent snapshot."""
        async with self.engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncConnection]:
        """Give a connection in a write transaction, committed at the end of the block.

        Prefer ``GroupCommitter.submit``, which lets concurrent writers share one flush.
        """
        async with self.engine.connect() as connection:
            await connection.execution_options(begins_writing=True)
            async with connection.begin():
                yield connection

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


def open_engine(database_url: str) -> Database:
    """Create the engine for a database URL; nothing is connected yet.

    Raises:
        ConfigurationError: the URL is malformed or names a database we do not support.
    """
    url = normalise_url(database_url)
    if url.get_backend_name() != "sqlite":
        return Database(create_async_engine(url, pool_size=10, max_overflow=20, pool_pre_ping=True))
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return Database(engine)


def open_blocking_engine(database: Database) -> Engine:
    """Open an SQLite file once more, for a writer with a thread of its own.

    Its transactions cost one change of threads each, where an asynchronous one costs several
    for every statement.
    """
    url = database.engine.url.set(drivername="sqlite+pysqlite")
    timeout = {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
    engine = create_engine(url, connect_args=timeout, pool_size=1, max_overflow=0)
    engine = engine.execution_options(begins_writing=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    """Make one SQLite connection durable, and leave transaction control to us."""
    driver: Any = connection
    driver.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout = {BUSY_TIMEOUT_MS}", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("begins_writing", False)
    # By the driver: what SQLAlchemy does around a statement takes longer than this one itself.
    cursor = connection.connection.cursor()
    cursor.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
    cursor.close()
