"""Group commit: writes of concurrent callers go to disk in one transaction.

A flush costs the same for one row as for sixty-four, so one writer takes whatever is waiting,
runs it in one transaction, and releases each caller only after that transaction is on disk.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import anyio
from anyio.abc import TaskGroup
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.errors import BackendUnavailableError, OrchestratorError
from mcp_orchestrator.store.engine import Database, open_blocking_engine
from mcp_orchestrator.store.writer_thread import Batch, BatchItem, WriterThread, write_batches

_DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError)

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item of a batch
#: Work done inside the transaction. It may run twice (a failed group is replayed one by one),
#: so it touches nothing but the connection it is given.
Unit = Callable[[AsyncConnection], Awaitable[T]]


@dataclass(eq=False, slots=True)
class _UnitItem:
    unit: Unit[Any]
    done: "asyncio.Future[object]"
    outcome: object = None


_Item = _UnitItem | BatchItem


class GroupCommitter:
    """The one writer of a process; use it as an async context manager.

    Units go through the asynchronous engine. Batches go with them on PostgreSQL, and through a
    thread of their own on SQLite; the two take turns there, since SQLite has one writer.

    Args:
        database: where to write.
        largest_group: how many callers share one transaction at the most.
    """

    def __init__(self, database: Database, *, largest_group: int = 256) -> None:
        self._database = database
        self._largest_group = largest_group
        self._units: list[_Item] = []
        self._batches: list[BatchItem] = []
        self._in_thread = 0
        self._wake = anyio.Event()
        self._writes_units = False
        self._closing = False
        self._tasks: TaskGroup | None = None
        self._thread: WriterThread | None = None

    async def __aenter__(self) -> Self:
        """Start the writer."""
        if self._database.is_sqlite:
            engine = open_blocking_engine(self._database)
            self._thread = WriterThread(engine, self._written, self._largest_group)
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
        if self._thread is not None:
            with anyio.CancelScope(shield=True):
                await self._thread.stop()

    async def submit(self, unit: Unit[T]) -> T:
        """Run a unit of writes and return its result once it is durable.

        Raises:
            OrchestratorError: what the unit itself raised; none of its writes were kept.
            BackendUnavailableError: the database failed; the write may or may not be on disk
                only if the connection broke during COMMIT, and is otherwise not.
        """
        item = _UnitItem(unit, self._accept())
        self._units.append(item)
        self._wake.set()
        return cast("T", await item.done)

    async def submit_to(self, batch: Batch[I, T], item: I) -> T:
        """Write one item together with those that others hand to the same batch function.

        Args:
            batch: the function that writes; the same object for all that shall go together.
            item: what to write.

        Raises:
            OrchestratorError: what the batch function put in this item's place.
            BackendUnavailableError: as for ``submit``.
        """
        waiting = BatchItem(batch, item, self._accept())
        if self._thread is None or self._units or self._writes_units:
            self._batches.append(waiting)
            self._wake.set()
        else:
            self._in_thread += 1
            self._thread.put(waiting)
        return cast("T", await waiting.done)

    def _accept(self) -> "asyncio.Future[object]":
        if self._closing:
            raise BackendUnavailableError(
                "The store is closing.", remedy="Ask again when the server is back."
            )
        return asyncio.get_running_loop().create_future()

    async def _write_groups(self) -> None:
        with anyio.CancelScope(shield=True):  # a cancelled server still writes what it accepted
            while True:
                if self._in_thread == 0 and (self._units or self._batches):
                    await self._take_turn()
                elif self._closing and not (self._in_thread or self._units or self._batches):
                    return
                else:
                    self._wake = anyio.Event()
                    await self._wake.wait()

    async def _take_turn(self) -> None:
        """Write the units that wait, then let the batches that waited for them go."""
        self._writes_units = True
        units = self._units[: self._largest_group]
        del self._units[: self._largest_group]
        await self._write_group([unit for unit in units if not unit.done.cancelled()])
        _release(units)
        self._writes_units = False
        batches = self._batches[: self._largest_group]
        del self._batches[: self._largest_group]
        if self._thread is None:
            await self._write_group([item for item in batches if not item.done.cancelled()])
            _release(batches)
            return
        for item in batches:
            self._in_thread += 1
            self._thread.put(item)

    def _written(self, group: Sequence[BatchItem]) -> None:
        """Release the callers of a group that the thread has written."""
        self._in_thread -= len(group)
        _release(group)
        if self._in_thread == 0:
            self._wake.set()

    async def _write_group(self, group: Sequence[_Item]) -> None:
        if not group:
            return
        try:
            async with self._database.write() as connection:
                batches: list[BatchItem] = []
                for item in group:
                    if isinstance(item, BatchItem):
                        batches.append(item)
                    else:
                        item.outcome = await item.unit(connection)
                if batches:
                    await connection.run_sync(write_batches, batches)
        except Exception as error:  # any fault of one unit must not reach its neighbours
            if len(group) == 1:
                group[0].outcome = error
                return
            for item in group:
                await self._write_group([item])


def _release(group: Sequence[_Item]) -> None:
    for item in group:
        if item.done.cancelled():
            continue
        if isinstance(item.outcome, Exception):
            item.done.set_exception(_as_store_error(item.outcome))
        else:
            item.done.set_result(item.outcome)


def _as_store_error(error: Exception) -> Exception:
    if isinstance(error, OrchestratorError) or not isinstance(error, _DATABASE_ERRORS):
        return error
    wrapped = BackendUnavailableError(
        f"The store refused a write: {type(error).__name__}.",
        remedy="See the log for the database's own words; run `mcp-orchestrator doctor`.",
    )
    wrapped.__cause__ = error
    return wrapped
