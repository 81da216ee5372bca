"""Fixtures of the contract tests: queues and saga engines on every back end."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.queue import TaskQueue
from mcp_orchestrator.saga import SagaEngine
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from tests.conftest import require
from tests.services.queue_place import BACK_ENDS_AND_CLUSTER, HandClock, Place, open_place
from tests.services.redis_cluster import RedisCluster, start_redis_cluster


@pytest.fixture(scope="session")
def redis_cluster(service_folder: Path) -> Iterator[RedisCluster]:
    """Three real nodes."""
    folder = service_folder / f"cluster-{uuid.uuid4().hex[:6]}"
    cluster = require(lambda: start_redis_cluster(folder))
    yield cluster
    cluster.stop()


@pytest.fixture(params=BACK_ENDS_AND_CLUSTER)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place[HandClock]]:
    """A place whose clock moves only when told."""
    async with open_place(request, str(request.param), tmp_path, HandClock()) as opened:
        yield opened


@pytest.fixture
async def queue(place: Place[HandClock]) -> TaskQueue:
    """A queue in that place."""
    return await place.queue()


@pytest.fixture(params=BACK_ENDS_AND_CLUSTER)
async def live_place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Place[SystemClock]]:
    """A place where time passes, for workers."""
    async with open_place(request, str(request.param), tmp_path, SystemClock()) as opened:
        yield opened


@pytest.fixture
async def committer(database: Database) -> AsyncIterator[GroupCommitter]:
    """The one writer of a process."""
    async with GroupCommitter(database) as opened:
        yield opened


@pytest.fixture
async def engine(database: Database, committer: GroupCommitter) -> AsyncIterator[SagaEngine]:
    """An engine that runs definitions made of functions."""
    async with SagaEngine(database, committer, NoActions(), runner_id="test") as running:
        yield running
