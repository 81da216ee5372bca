"""Group commit: writes of concurrent callers go to disk in one transaction.

A flush costs the same for one row as for sixty-four, so one writer takes whatever is waiting,
runs it in one transaction, and releases each caller only after that transaction is on disk.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio
from anyio.abc import TaskGroup
from sqlalchemy.exc import SQLAlchemyError

from mcp_orchestrator.errors import BackendUnavailableError, OrchestratorError
from mcp_orchestrator.store.engine import Database, open_blocking_engine
from mcp_orchestrator.store.writer_thread import WriterThread
from mcp_orchestrator.store.writes import Batch, BatchItem, Item, Unit, UnitItem, write_items

_DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError)

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item of a batch


class GroupCommitter:
    """The one writer of a process; use it as an async context manager.

    On SQLite everything is written by a thread, on PostgreSQL over the asynchronous engine.

    Args:
        database: where to write.
        largest_group: how many callers share one transaction at the most.
    """

    def __init__(self, database: Database, *, largest_group: int = 256) -> None:
        self._database = database
        self._largest_group = largest_group
        self._waiting: list[Item] = []
        self._wake = anyio.Event()
        self._closing = False
        self._tasks: TaskGroup | None = None
        self._thread: WriterThread | None = None

    async def __aenter__(self) -> Self:
        """Start the writer."""
        if self._database.is_sqlite:
            engine = open_blocking_engine(self._database)
            self._thread = WriterThread(engine, _release, self._largest_group)
            return self
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
        return cast("T", await self._accept(UnitItem(unit, self._promise())))

    async def submit_to(self, batch: Batch[I, T], item: I) -> T:
        """Write one item together with those that others hand to the same batch function.

        Args:
            batch: the function that writes; the same object for all that shall go together.
            item: what to write.

        Raises:
            OrchestratorError: what the batch function put in this item's place.
            BackendUnavailableError: as for ``submit``.
        """
        return cast("T", await self.post(batch, item))

    def post(self, batch: Batch[I, T], item: I) -> "asyncio.Future[object]":
        """Have an item written soon, for a caller that need not wait until it is on disk.

        It is on disk before whatever is handed to ``submit_to`` later.

        Args:
            batch: as for ``submit_to``.
            item: what to write.

        Returns:
            What ``submit_to`` awaits.

        Raises:
            BackendUnavailableError: the store is closing.
        """
        return self._accept(BatchItem(batch, item, self._promise()))

    def _promise(self) -> "asyncio.Future[object]":
        if self._closing:
            raise BackendUnavailableError(
                "The store is closing.", remedy="Ask again when the server is back."
            )
        return asyncio.get_running_loop().create_future()

    def _accept(self, item: Item) -> "asyncio.Future[object]":
        if self._thread is not None:
            self._thread.put(item)
        else:
            self._waiting.append(item)
            self._wake.set()
        return item.done

    async def _write_groups(self) -> None:
        with anyio.CancelScope(shield=True):  # a cancelled server still writes what it accepted
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._wake = anyio.Event()
                    await self._wake.wait()
                    continue
                group = self._waiting[: self._largest_group]
                del self._waiting[: self._largest_group]
                await self._write_group([item for item in group if not item.done.cancelled()])
                _release(group)

    async def _write_group(self, group: Sequence[Item]) -> None:
        if not group:
            return
        try:
            async with self._database.write() as connection:
                await connection.run_sync(write_items, group)
        except Exception as error:  # any fault of one unit must not reach its neighbours
            if len(group) == 1:
                group[0].outcome = error
                return
            for item in group:
                await self._write_group([item])


def _release(group: Sequence[Item]) -> None:
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
