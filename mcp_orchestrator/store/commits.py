"""Group commit: writes of concurrent callers go to disk in one transaction.

A flush costs the same for one row as for sixty-four, so one writer takes whatever is waiting,
runs it in one transaction, and releases each caller only after that transaction is on disk.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.errors import BackendUnavailableError, OrchestratorError
from mcp_orchestrator.store.engine import Database, open_blocking_engine

_DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError)

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item of a batch
#: Work done inside the transaction. It may run twice (a failed group is replayed one by one),
#: so it touches nothing but the connection it is given.
Unit = Callable[[AsyncConnection], Awaitable[T]]
#: Writes of the same kind, done for many callers in a few statements; the outcomes are in the
#: order of the items, and an exception among them is raised to that item's caller alone. It may
#: run twice, as a unit may, and runs in another thread on SQLite.
Batch = Callable[[Connection, Sequence[I]], Sequence[T | Exception]]


@dataclass(eq=False)
class _Pending:
    done: anyio.Event
    unit: Unit[Any] | None = None
    batch: Batch[Any, Any] | None = None
    item: object = None
    result: object = None
    error: Exception | None = None
    abandoned: bool = False


class GroupCommitter:
    """The one writer of a process; use it as an async context manager.

    Attributes:
        blocking_engine: on SQLite, the engine of the thread that writes batches.

    Args:
        database: where to write.
        largest_group: how many callers share one transaction at the most.
    """

    def __init__(self, database: Database, *, largest_group: int = 256) -> None:
        self._database = database
        self._largest_group = largest_group
        self._waiting: list[_Pending] = []
        self._wake = anyio.Event()
        self._closing = False
        self._tasks: TaskGroup | None = None
        self.blocking_engine = open_blocking_engine(database) if database.is_sqlite else None
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        """Start the writer."""
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._write_groups)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is still waiting, then stop."""
        self._closing = True
        self._wake.set()
        if self._tasks is not None:
            await self._tasks.__aexit__(None, None, None)
        if self._connection is not None:
            await to_thread.run_sync(self._connection.close)
        if self.blocking_engine is not None:
            self.blocking_engine.dispose()

    async def submit(self, unit: Unit[T]) -> T:
        """Run a unit of writes and return its result once it is durable.

        Raises:
            OrchestratorError: what the unit itself raised; none of its writes were kept.
            BackendUnavailableError: the database failed; the write may or may not be on disk
                only if the connection broke during COMMIT, and is otherwise not.
        """
        return cast("T", await self._submit(_Pending(anyio.Event(), unit=unit)))

    async def submit_to(self, batch: Batch[I, T], item: I) -> T:
        """Write one item together with those that others hand to the same batch function.

        Args:
            batch: the function that writes; the same object for all that shall go together.
            item: what to write.

        Raises:
            OrchestratorError: what the batch function put in this item's place.
            BackendUnavailableError: as for ``submit``.
        """
        return cast("T", await self._submit(_Pending(anyio.Event(), batch=batch, item=item)))

    async def _submit(self, pending: _Pending) -> object:
        if self._closing:
            raise BackendUnavailableError(
                "The store is closing.", remedy="Ask again when the server is back."
            )
        self._waiting.append(pending)
        self._wake.set()
        try:
            await pending.done.wait()
        except BaseException:
            pending.abandoned = True
            raise
        if pending.error is not None:
            raise pending.error
        return pending.result

    async def _write_groups(self) -> None:
        with anyio.CancelScope(shield=True):  # a cancelled server still writes what it accepted
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._wake = anyio.Event()
                    await self._wake.wait()
                    continue
                group = self._waiting[: self._largest_group]
                del self._waiting[: self._largest_group]
                wanted = [pending for pending in group if not pending.abandoned]
                await self._write_group([pending for pending in wanted if pending.unit])
                await self._write_group([pending for pending in wanted if pending.batch])
                for pending in group:
                    pending.done.set()

    async def _write_group(self, group: list[_Pending]) -> None:
        if not group:
            return
        try:
            await self._write_together(group)
        except Exception as error:  # any fault of one unit must not reach its neighbours
            if len(group) == 1:
                group[0].error = _as_store_error(error)
                return
            for pending in group:
                await self._write_group([pending])

    async def _write_together(self, group: list[_Pending]) -> None:
        batches: dict[Batch[Any, Any], list[_Pending]] = {}
        for pending in group:
            if pending.batch is not None:
                batches.setdefault(pending.batch, []).append(pending)
        if batches and self.blocking_engine is not None:
            await to_thread.run_sync(self._write_blocking, self.blocking_engine, batches)
            return
        async with self._database.write() as connection:
            for pending in group:
                if pending.unit is not None:
                    pending.result = await pending.unit(connection)
            if batches:
                await connection.run_sync(_write_batches, batches)

    def _write_blocking(
        self, engine: Engine, batches: dict[Batch[Any, Any], list[_Pending]]
    ) -> None:
        """Write in the thread, on a connection that is kept: opening one costs as much."""
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = engine.connect()
        with connection.begin():
            _write_batches(connection, batches)


def _write_batches(connection: Connection, batches: dict[Batch[Any, Any], list[_Pending]]) -> None:
    for batch, members in batches.items():
        outcomes = batch(connection, [pending.item for pending in members])
        for pending, outcome in zip(members, outcomes, strict=True):
            pending.error = outcome if isinstance(outcome, Exception) else None
            pending.result = outcome


def _as_store_error(error: Exception) -> Exception:
    if isinstance(error, OrchestratorError) or not isinstance(error, _DATABASE_ERRORS):
        return error
    wrapped = BackendUnavailableError(
        f"The store refused a write: {type(error).__name__}.",
        remedy="See the log for the database's own words; run `mcp-orchestrator doctor`.",
    )
    wrapped.__cause__ = error
    return wrapped
