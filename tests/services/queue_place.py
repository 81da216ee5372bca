"""Somewhere queues can live: each back end of the queue, for the tests that run over all."""

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

import anyio
import pytest

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.queue import Task, TaskQueue, TaskQueueConfig
from mcp_orchestrator.store.engine import Database, open_engine, sqlite_url
from mcp_orchestrator.store.migrations import migrate
from tests.services.postgres_server import PostgresServer
from tests.services.redis_cluster import RedisCluster
from tests.services.redis_server import RedisServer

C = TypeVar("C", bound=Clock)
BACK_ENDS = ("sqlite", "postgresql", "redis")
BACK_ENDS_AND_CLUSTER = (*BACK_ENDS, "redis-cluster")


@dataclass
class HandClock:
    """A clock that moves only when told."""

    moment: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await anyio.lowlevel.checkpoint()

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Place(Generic[C]):
    """One queue's place; ``queue`` opens another process's view of it."""

    name: str
    clock: C
    redis_url: str | None
    database: Database | None
    database_url: str | None
    group: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")
    opened: list[TaskQueue] = field(default_factory=list[TaskQueue])

    def config(self, **settings: object) -> TaskQueueConfig:
        fields = {"consumer_group": self.group, "redis_url": self.redis_url, "fair_share": 0}
        return TaskQueueConfig.model_validate(fields | settings)

    async def queue(self, **settings: object) -> TaskQueue:
        queue = TaskQueue(self.config(**settings), database=self.database, clock=self.clock)
        await queue.connect()
        self.opened.append(queue)
        return queue


@asynccontextmanager
async def open_place(
    request: pytest.FixtureRequest, kind: str, folder: Path, clock: C
) -> AsyncGenerator[Place[C]]:
    """Open an empty place of one kind, and close every queue that was opened in it."""
    database, redis_url, url = None, None, None
    if kind == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        redis_url = server.url
    elif kind == "redis-cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        redis_url = cluster.url
    else:
        url = sqlite_url(folder / "orchestrator.db")
        if kind == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            url = postgres.create_database()
        database = open_engine(url)
        await migrate(database)
    place = Place(kind, clock, redis_url, database, url)
    try:
        yield place
    finally:
        for queue in reversed(place.opened):
            await queue.close()
        if database is not None:
            await database.close()


async def eventually(check: Callable[[], Awaitable[bool]], *, seconds: float = 5) -> None:
    """Ask again and again until the answer is yes; fail at the deadline."""
    with anyio.fail_after(seconds):
        while not await check():  # noqa: ASYNC110 - what is awaited happens in other processes
            await anyio.sleep(0.01)


async def take_one(queue: TaskQueue, worker: str = "w") -> tuple[str, Task]:
    """Take what is next, which must be there; return its message id and the task."""
    deliveries = await queue.take(worker, 1)
    assert len(deliveries) == 1
    return deliveries[0].lease.message_id, deliveries[0].task
