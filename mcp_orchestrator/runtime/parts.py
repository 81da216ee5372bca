"""Single parts, for whoever looks into them from outside: nothing is run in here.

Each raises ConfigurationError where a setting is wrong, and BackendUnavailableError where the
database or Redis does not answer.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.queue import QueueMetrics, TaskQueue, TaskQueueConfig
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database, open_engine
from mcp_orchestrator.store.ledger import Ledger
from mcp_orchestrator.store.migrations import migrate
from mcp_orchestrator.store.runs import RunStore
from mcp_orchestrator.store.tokens import TokenStore


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncGenerator[tuple[Database, GroupCommitter]]:
    """Open the store, its schema brought up to date."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_engine(settings.store_url)
    try:
        await migrate(database)
        async with GroupCommitter(database) as committer:
            yield database, committer
    finally:
        await database.close()


def build_queue(
    settings: Settings,
    database: Database,
    committer: GroupCommitter,
    clock: Clock,
    metrics: QueueMetrics | None = None,
) -> TaskQueue:
    """Return the queue that the settings ask for, not connected yet."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    config = TaskQueueConfig(redis_url=redis_url, lease_seconds=settings.task_lease_seconds)
    return TaskQueue(config, database=database, committer=committer, clock=clock, metrics=metrics)


@asynccontextmanager
async def open_queue(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[TaskQueue]:
    """Open only the queue."""
    clock = clock or SystemClock()
    async with (
        open_store(settings) as (database, committer),
        build_queue(settings, database, committer, clock) as queue,
    ):
        yield queue


@asynccontextmanager
async def open_ledger(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Ledger]:
    """Open only the ledger of model calls."""
    async with open_store(settings) as (database, committer):
        yield Ledger(database, committer, clock or SystemClock())


@asynccontextmanager
async def open_runs(settings: Settings) -> AsyncGenerator[RunStore]:
    """Open only the record of the sandbox's runs."""
    async with open_store(settings) as (database, committer):
        yield RunStore(database, committer)


@asynccontextmanager
async def open_tokens(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[TokenStore]:
    """Open only the access tokens."""
    async with open_store(settings) as (database, committer):
        yield TokenStore(database, committer, clock or SystemClock())
