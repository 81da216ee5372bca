"""The SQL back end: one table, the same statements on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import BackendUnavailableError, StaleLeaseError
from mcp_orchestrator.queue.config import TaskQueueConfig
from mcp_orchestrator.queue.encoding import encode_progress
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.limit import TypeLimit
from mcp_orchestrator.queue.port import (
    NewEntry,
    QueueStats,
    Settlement,
    TakeRequest,
    TaskFilter,
    stale_lease,
)
from mcp_orchestrator.queue.sql import changing, reading
from mcp_orchestrator.queue.sql.adding import add_tasks
from mcp_orchestrator.queue.sql.patience import Patience
from mcp_orchestrator.queue.sql.renewing import SqlRenewer
from mcp_orchestrator.queue.sql.settling import settle_group
from mcp_orchestrator.queue.sql.taking import may_have_work, take
from mcp_orchestrator.queue.task import Task, TaskEvent, TaskProgress, TaskStatus
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database, open_engine
from mcp_orchestrator.store.schema.tasks import tasks

#: How many finished tasks one sweep forgets.
_SWEEP = 500
#: How often finished tasks beyond their retention are looked for, in seconds.
_SWEEP_EVERY = 60.0


class SqlBackend:
    """Tasks in one table of the store.

    Args:
        database: where they are; migrated.
        committer: the process's writer; None to start one of its own.
        config: the queue's settings.
        clock: the source of time.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter | None,
        config: TaskQueueConfig,
        clock: Clock,
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._queue = config.consumer_group
        self._committer: GroupCommitter | None = committer
        self._own_writer: asyncio.Task[None] | None = None
        self._closing = anyio.Event()
        self._work_added = anyio.Event()
        self._task_changed = anyio.Event()
        self._in_vain = False
        self._patience = Patience(config.lease_seconds, clock)
        self._swept_at = clock.monotonic()

    async def open(self) -> None:
        """Start a writer where none was given."""
        await self.ping()
        if self._committer is None:
            opened = anyio.Event()
            self._own_writer = asyncio.create_task(self._run_own_writer(opened))
            await opened.wait()

    async def close(self) -> None:
        """Stop the writer that was started here; the database is its owner's to close."""
        if self._own_writer is not None:
            self._closing.set()
            await self._own_writer
            self._own_writer = self._committer = None

    async def ping(self) -> str:
        """Return the database's name and version."""
        question = "SELECT sqlite_version()" if self._database.is_sqlite else "SHOW server_version"
        async with self._read() as connection:
            version = await connection.scalar(text(question))
        return f"{'SQLite' if self._database.is_sqlite else 'PostgreSQL'} {version}"

    async def add(self, entries: Sequence[NewEntry]) -> list[Task]:
        """Insert tasks in one transaction."""
        limit = self._config.max_length
        added = await self._writer.submit(
            lambda connection: add_tasks(connection, self._queue, entries, limit)
        )
        self._announce_work()
        return added

    async def take(self, request: TakeRequest) -> list[Delivery]:
        """Lease ready tasks."""
        retention = self._config.dead_retention_seconds
        await self._sweep_sometimes(request.now)
        asked_at = self._clock.monotonic()
        deliveries = await self._writer.submit(
            lambda connection: take(
                connection,
                self._queue,
                request,
                retention,
                recover=self._patience.may_recover(asked_at),
            )
        )
        self._in_vain = self._in_vain and not deliveries
        return deliveries

    async def wait_for_work(self, request: TakeRequest, timeout: float) -> None:
        """Wait for an addition in this process, and look for those of other processes."""
        with anyio.move_on_after(timeout):
            if self._in_vain:  # what is ready may not be taken yet: its type is at its limit
                with anyio.move_on_after(self._config.poll_seconds):
                    await self._work_added.wait()
            self._in_vain = True
            while True:
                added = self._work_added
                now = self._clock.now()
                async with self._read() as connection:
                    if await connection.run_sync(may_have_work, self._queue, request, now):
                        return
                with anyio.move_on_after(self._config.poll_seconds):
                    await added.wait()

    async def settle(self, settlements: Sequence[Settlement]) -> list[StaleLeaseError | None]:
        """Record how deliveries ended, in one transaction."""
        refusals = await self._writer.submit(
            lambda connection: settle_group(connection, settlements)
        )
        self._announce_change()
        if not all(settlement.status.is_final for settlement in settlements):
            self._announce_work()
        return refusals

    async def record_progress(self, lease: Lease, progress: TaskProgress) -> None:
        """Keep what the handler said last."""
        statement = (
            update(tasks)
            .where(
                tasks.c.task_id == lease.task_id,
                tasks.c.epoch == lease.epoch,
                tasks.c.status == TaskStatus.PROCESSING,
            )
            .values(progress=encode_progress(progress))
        )
        result = await self._writer.submit(lambda connection: connection.execute(statement))
        if result.rowcount == 0:
            raise stale_lease(lease)

    async def cancel(self, task_id: str, event: TaskEvent, expires_at: datetime) -> None:
        """End a waiting task; mark a running one."""
        await self._writer.submit(
            lambda connection: changing.cancel(connection, self._queue, task_id, event, expires_at)
        )
        self._announce_change()

    async def watch_cancels(
        self,
        worker_id: str,  # noqa: ARG002 - rows are found by task
        running: Callable[[], Collection[str]],
        cancel: Callable[[str], None],
    ) -> None:
        """Look at the running tasks whenever something changed here, and at intervals."""
        while True:
            changed = self._task_changed
            if ids := running():
                async with self._read() as connection:
                    for task_id in await connection.run_sync(reading.cancel_requested, ids):
                        cancel(task_id)
            with anyio.move_on_after(self._config.poll_seconds * 2):
                await changed.wait()

    async def get(self, task_id: str) -> Task | None:
        """Return one task."""
        async with self._read() as connection:
            return await connection.run_sync(reading.get, self._queue, task_id)

    async def wait_until_final(self, task_id: str, timeout: float) -> None:
        """Wait for a change in this process, and look for those of other processes."""
        ended = select(tasks.c.finished_at.is_not(None)).where(
            tasks.c.queue == self._queue, tasks.c.task_id == task_id
        )
        with anyio.move_on_after(timeout):
            while True:
                changed = self._task_changed
                async with self._read() as connection:
                    if await connection.scalar(ended) is not False:
                        return
                with anyio.move_on_after(self._config.poll_seconds):
                    await changed.wait()

    async def list_tasks(self, task_filter: TaskFilter) -> list[Task]:
        """Return tasks, newest first."""
        async with self._read() as connection:
            return await connection.run_sync(reading.list_tasks, self._queue, task_filter)

    async def stats(self, now: datetime) -> QueueStats:
        """Count."""
        name = "sqlite" if self._database.is_sqlite else "postgresql"
        async with self._read() as connection:
            return await connection.run_sync(
                reading.stats, self._queue, now, name, self._config.lease_seconds
            )

    async def requeue(self, task_id: str, event: TaskEvent, now: datetime) -> bool:
        """Give a dead letter or failed task all its attempts again."""
        requeued = await self._writer.submit(
            lambda connection: changing.requeue(connection, self._queue, task_id, event, now)
        )
        self._announce_work()
        return requeued

    async def purge_dead(self, task_type: str | None) -> int:
        """Forget dead letters."""
        return await self._writer.submit(
            lambda connection: changing.purge_dead(connection, self._queue, task_type)
        )

    async def set_paused(self, kind: str, name: str, *, paused: bool) -> None:
        """Stop or go on handing out one type or one priority."""
        await self._writer.submit(
            lambda connection: changing.set_paused(
                connection, self._queue, kind, name, paused=paused
            )
        )
        self._announce_work()

    async def limit_type(self, task_type: str, limit: TypeLimit) -> None:
        """Bound how many tasks of a type run at once and start in a span, over all workers."""
        await self._writer.submit(
            lambda connection: changing.limit_type(connection, self._queue, task_type, limit)
        )
        self._announce_work()

    @asynccontextmanager
    async def renewer(self) -> AsyncGenerator[SqlRenewer]:
        """Open a second engine, because connections belong to the event loop that made them."""
        database = open_engine(self._database.engine.url.render_as_string(hide_password=False))
        try:
            yield SqlRenewer(database, self._queue)
        finally:
            await database.close()

    async def _run_own_writer(self, opened: anyio.Event) -> None:
        """Hold a writer open in a task of its own: any task may open and close the queue."""
        self._closing = anyio.Event()
        async with GroupCommitter(self._database) as self._committer:
            opened.set()
            await self._closing.wait()

    @asynccontextmanager
    async def _read(self) -> AsyncGenerator[AsyncConnection]:
        try:
            async with self._database.read() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise BackendUnavailableError(
                f"The queue's database does not answer: {type(error).__name__}.",
                remedy="Check DATABASE_URL and that the database runs.",
            ) from error

    @property
    def _writer(self) -> GroupCommitter:
        if self._committer is None:
            raise BackendUnavailableError(
                "The queue is not connected.", remedy="Call connect() first, or use `async with`."
            )
        return self._committer

    async def _sweep_sometimes(self, now: datetime) -> None:
        if self._clock.monotonic() - self._swept_at < _SWEEP_EVERY:
            return
        self._swept_at = self._clock.monotonic()
        expired = (
            select(tasks.c.sequence)
            .where(tasks.c.queue == self._queue, tasks.c.expires_at <= now)
            .limit(_SWEEP)
        )
        statement = delete(tasks).where(tasks.c.sequence.in_(expired))
        await self._writer.submit(lambda connection: connection.execute(statement))

    def _announce_work(self) -> None:
        self._work_added.set()
        self._work_added = anyio.Event()

    def _announce_change(self) -> None:
        self._task_changed.set()
        self._task_changed = anyio.Event()
