"""The thread that writes to SQLite.

A group of writes costs one change of threads each way, where an asynchronous connection needs
several for every statement. And a transaction never waits for the event loop: a handler that blocks
the loop would otherwise hold the one write lock of the file for as long, and nobody, not even the
threads that renew leases, could write meanwhile.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

import anyio
from anyio import to_thread
from sqlalchemy import Connection

from mcp_orchestrator.store.engine import Database, open_blocking_engine
from mcp_orchestrator.store.writes import Item, write_items


class WriterThread:
    """Writes what it is given, as many items in one transaction as are waiting.

    Args:
        database: an SQLite file, which the thread opens once more for itself.
        written: told of each group once it is on disk or has failed; called in the event loop.
        largest_group: how many items share one transaction at the most.
    """

    def __init__(
        self, database: Database, written: Callable[[Sequence[Item]], None], largest_group: int
    ) -> None:
        self._engine = open_blocking_engine(database)
        self._written = written
        self._largest_group = largest_group
        self._inbox: SimpleQueue[Item | None] = SimpleQueue()
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Start the thread."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name="store-writer", daemon=True
        )
        self._thread.start()

    def put(self, item: Item) -> None:
        """Write an item soon."""
        self._inbox.put(item)

    async def stop(self) -> None:
        """Write what is waiting, then end the thread."""
        self._inbox.put(None)
        with anyio.CancelScope(shield=True):
            if self._thread is not None:
                await to_thread.run_sync(self._thread.join)
        self._engine.dispose()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while (first := self._inbox.get()) is not None:
            group = [first]
            last = self._take_more(group)
            self._write([item for item in group if not item.done.cancelled()])
            loop.call_soon_threadsafe(self._written, group)
            if last:
                break
        if self._connection is not None:
            self._connection.close()

    def _take_more(self, group: list[Item]) -> bool:
        """Add what is waiting to a group; tell whether nothing comes after it."""
        while len(group) < self._largest_group:
            try:
                item = self._inbox.get_nowait()
            except Empty:
                return False
            if item is None:
                return True
            group.append(item)
        return False

    def _write(self, group: Sequence[Item]) -> None:
        try:
            connection = self._connection
            if connection is None or connection.closed:
                # Kept from then on: opening one costs as much as a write.
                connection = self._connection = self._engine.connect()
            with connection.begin():
                write_items(connection, group)
        except Exception as error:  # any fault of one item must not reach its neighbours
            if len(group) == 1:
                group[0].outcome = error
                return
            for item in group:
                self._write([item])
