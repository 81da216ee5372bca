"""Waiting for tasks to end: one blocking read on behalf of every waiter of this process."""

import asyncio
import uuid

import anyio

from mcp_orchestrator.errors import BackendUnavailableError
from mcp_orchestrator.queue.port import AWAY_PAUSE
from mcp_orchestrator.queue.redis_streams.connection import RedisConnection

#: One blocking read, in seconds; shorter than the socket's time-out.
_READ_SECONDS = 2


class EndedTasks:
    """Wakes those who wait for tasks.

    Args:
        connection: where the scripts push the ids of ended tasks.
        root: the beginning of every key.
    """

    def __init__(self, connection: RedisConnection, root: str) -> None:
        self._connection = connection
        self._waiter = uuid.uuid4().hex
        self._list = f"{root}:woken:{self._waiter}"
        self._waiting: dict[str, anyio.Event] = {}
        self._counts: dict[str, int] = {}
        self._reader: asyncio.Task[None] | None = None

    async def wait(self, task_id: str, timeout: float) -> None:
        """Return when the task has ended, is unknown, or after a number of seconds."""
        event = self._waiting.setdefault(task_id, anyio.Event())
        self._counts[task_id] = self._counts.get(task_id, 0) + 1
        try:
            with anyio.move_on_after(timeout):
                if await self._connection.script("await", [task_id, self._waiter]):
                    self._start_reading()
                    await event.wait()
        finally:
            self._counts[task_id] -= 1
            if self._counts[task_id] == 0:
                del self._counts[task_id]
                self._waiting.pop(task_id, None)

    async def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def _start_reading(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while self._waiting:
            try:
                reply = await self._connection.wait("BLPOP", self._list, _READ_SECONDS)
            except BackendUnavailableError:
                await anyio.sleep(AWAY_PAUSE)
                continue
            event = self._waiting.pop(reply[1], None) if reply else None
            if event is not None:
                event.set()
