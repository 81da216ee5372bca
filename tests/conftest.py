"""Fixtures every kind of test shares: real services, started once, stopped by process id."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from mcp_orchestrator.store.engine import Database, open_engine, sqlite_url
from mcp_orchestrator.store.migrations import migrate
from tests import sandbox_fixtures
from tests.services.postgres_server import PostgresServer, start_postgres
from tests.services.process import ServiceMissingError
from tests.services.redis_server import RedisServer, start_redis

S = TypeVar("S")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """SQLAlchemy's asyncpg needs asyncio."""
    return "asyncio"


def require(start: Callable[[], S]) -> S:
    """Start a service; where it cannot be had, skip with the reason, or fail under REQUIRE_ALL."""
    try:
        return start()
    except ServiceMissingError as missing:
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(f"REQUIRE_ALL=1: {missing}")
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def service_folder() -> Iterator[Path]:
    """A short path (sockets have a limit) that an unprivileged service may enter."""
    with tempfile.TemporaryDirectory(prefix="mcpo-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def redis_server(service_folder: Path) -> Iterator[RedisServer]:
    """A real redis-server."""
    folder = service_folder / "redis"
    folder.mkdir()
    server = require(lambda: start_redis(folder))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server(service_folder: Path) -> Iterator[PostgresServer]:
    """A real PostgreSQL."""
    folder = service_folder / "postgres"
    folder.mkdir()
    server = require(lambda: start_postgres(folder))
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind, not yet migrated."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "orchestrator.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated database of each kind."""
    opened = open_engine(database_url)
    await migrate(opened)
    yield opened
    await opened.close()


sandbox = sandbox_fixtures.sandbox
bubblewrap = sandbox_fixtures.bubblewrap
docker_server = sandbox_fixtures.docker_server
