"""The task that writes to PostgreSQL, over the asynchronous engine."""

from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.writes import Item, write_items


class WriterTask:
    """Writes what it is given, as many items in one transaction as are waiting.

    Args:
        database: where to write.
        written: told of each group once it is on disk or has failed.
        largest_group: how many items share one transaction at the most.
    """

    def __init__(
        self, database: Database, written: Callable[[Sequence[Item]], None], largest_group: int
    ) -> None:
        self._database = database
        self._written = written
        self._largest_group = largest_group
        self._waiting: list[Item] = []
        self._wake = anyio.Event()
        self._closing = False
        self._tasks: TaskGroup = anyio.create_task_group()

    async def start(self) -> None:
        """Start the task."""
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)

    def put(self, item: Item) -> None:
        """Write an item soon."""
        self._waiting.append(item)
        self._wake.set()

    async def stop(self) -> None:
        """Write what is waiting, then end the task."""
        self._closing = True
        self._wake.set()
        await self._tasks.__aexit__(None, None, None)

    async def _run(self) -> None:
        with anyio.CancelScope(shield=True):  # a cancelled server still writes what it accepted
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._wake = anyio.Event()
                    await self._wake.wait()
                    continue
                group = self._waiting[: self._largest_group]
                del self._waiting[: self._largest_group]
                await self._write([item for item in group if not item.done.cancelled()])
                self._written(group)

    async def _write(self, group: Sequence[Item]) -> None:
        if not group:
            return
        in_doubt = False
        try:
            async with self._database.write() as connection:
                await connection.run_sync(write_items, group)
                in_doubt = True  # from here on there is only the COMMIT
        except Exception as error:  # any fault of one item must not reach its neighbours
            if in_doubt or len(group) == 1:
                # Nobody knows whether a COMMIT without an answer happened: nothing is done twice.
                for item in group:
                    item.outcome = error
                return
            for item in group:
                await self._write([item])
