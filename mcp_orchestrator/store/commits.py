"""Group commit: writes of concurrent callers go to disk in one transaction.

A flush costs the same for one row as for sixty-four, so one writer takes whatever is waiting,
runs it in one transaction, and releases each caller only after that transaction is on disk.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar, cast

from sqlalchemy.exc import SQLAlchemyError

from mcp_orchestrator.errors import BackendUnavailableError, OrchestratorError
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.writer_task import WriterTask
from mcp_orchestrator.store.writer_thread import WriterThread
from mcp_orchestrator.store.writes import Batch, BatchItem, Item, Unit, UnitItem

_DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError)

T = TypeVar("T")
Given = TypeVar("Given")


class GroupCommitter:
    """The one writer of a process; use it as an async context manager.

    On SQLite everything is written by a thread, on PostgreSQL over the asynchronous engine.

    Args:
        database: where to write.
        largest_group: how many callers share one transaction at the most.
    """

    def __init__(self, database: Database, *, largest_group: int = 256) -> None:
        make = WriterThread if database.is_sqlite else WriterTask
        self._writer = make(database, _release, largest_group)
        self._closing = False

    async def __aenter__(self) -> Self:
        """Start the writer."""
        await self._writer.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is still waiting, then stop."""
        self._closing = True
        await self._writer.stop()

    async def submit(self, unit: Unit[T]) -> T:
        """Run a unit of writes and return its result once it is durable.

        Raises:
            OrchestratorError: what the unit itself raised; none of its writes were kept.
            BackendUnavailableError: the database failed; the write may or may not be on disk
                only if the connection broke during COMMIT, and is otherwise not.
        """
        return cast("T", await self._accept(UnitItem(unit, self._promise())))

    async def submit_to(self, batch: Batch[Given, T], item: Given) -> T:
        """Write one item together with those that others hand to the same batch function.

        Args:
            batch: the function that writes; the same object for all that shall go together.
            item: what to write.

        Raises:
            OrchestratorError: what the batch function put in this item's place.
            BackendUnavailableError: as for ``submit``.
        """
        return cast("T", await self.post(batch, item))

    def post(self, batch: Batch[Given, T], item: Given) -> "asyncio.Future[object]":
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
        self._writer.put(item)
        return item.done


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
