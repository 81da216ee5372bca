"""One connection that all callers of a process share: commands leave at once, replies in order.

redis-py opens the connection (address, TLS, sign-in, Sentinel); from then on its bytes are ours,
because a command then costs a third of what it costs through a pool.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - redis-py's own, which callers of this module expect
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

#: How often a command is sent when its connection breaks.
_ATTEMPTS = 4
_FIRST_PAUSE = 0.05
_NOTHING = object()
_pack = cast(
    "Callable[[tuple[str | int | float, ...]], bytes]",
    hiredis.pack_command,  # pyright: ignore[reportUnknownMemberType] - its stub is incomplete
)
_BY_CODE: dict[str, type[RedisError]] = {
    "NOSCRIPT": NoScriptError,
    "READONLY": ReadOnlyError,
    "LOADING": BusyLoadingError,
}


class Wire:
    """A shared connection that opens itself, and opens again when it broke.

    Args:
        pool: the redis-py pool that knows how to connect.
        timeout: how long Redis may stay silent while replies are due, in seconds.
    """

    def __init__(self, pool: Any, *, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._opening = asyncio.Lock()
        self._open: _Exchange | None = None
        self._connection: Any = None

    async def call(self, *words: str | int | float) -> Any:
        """Run one command; it may be sent again when the connection broke.

        Raises:
            RedisError: Redis refused it, or could not be reached.
        """
        packed = _pack(words)
        for attempt in range(_ATTEMPTS):
            exchange = self._open
            try:
                if exchange is None or exchange.closed:
                    exchange = await self._reopen()
                return await exchange.send(packed)
            except (ConnectionError, ReadOnlyError, OSError) as error:
                if isinstance(error, ReadOnlyError):  # a failover: ask anew who the master is
                    self._drop()
                if attempt + 1 == _ATTEMPTS:
                    raise
            await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def wait(self, *words: str | int | float) -> Any:
        """Run one command that blocks; a caller who gives up takes the connection down with it.

        Raises:
            RedisError: Redis refused it, or could not be reached.
        """
        try:
            return await self.call(*words)
        except asyncio.CancelledError:
            self._drop()  # else Redis would go on waiting, and hand what comes to nobody
            raise

    async def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        await self._release()

    async def _reopen(self) -> "_Exchange":
        async with self._opening:
            if self._open is not None and not self._open.closed:
                return self._open
            await self._release()
            connection = await self._pool.get_connection()
            transport: asyncio.Transport = connection._writer.transport
            self._connection = connection
            self._open = _Exchange(transport, self._timeout)
            transport.set_protocol(self._open)
            return self._open

    def _drop(self) -> None:
        if self._open is not None:
            self._open.abort()

    async def _release(self) -> None:
        self._drop()
        connection, self._connection, self._open = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)


class _Exchange(asyncio.Protocol):
    """Commands out, replies in; the first reply belongs to the first command."""

    def __init__(self, transport: asyncio.Transport, timeout: float) -> None:
        self.closed = False
        self._transport = transport
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._reader: Any = hiredis.Reader(
            encoding="utf-8", replyError=_refusal, notEnoughData=_NOTHING
        )
        self._replies = 0
        self._watched = False

    def send(self, packed: bytes) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(future)
        self._transport.write(packed)
        if not self._watched:
            self._watch()
        return future

    def abort(self) -> None:
        self.closed = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        while (reply := reader.gets()) is not _NOTHING:
            if isinstance(reply, hiredis.PushNotification):
                continue
            self._replies += 1
            future = waiting.popleft()
            if future.done():  # its caller was cancelled
                continue
            if isinstance(reply, RedisError):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(ConnectionError(f"the connection broke: {exc or 'closed'}"))

    def _watch(self) -> None:
        """Look in a while whether replies still come; break the connection if they do not."""
        self._watched = True
        self._loop.call_later(self._timeout, self._look, self._replies)

    def _look(self, replies_before: int) -> None:
        self._watched = False
        if not self._waiting or self.closed:
            return
        if self._replies == replies_before:
            self.abort()
        else:
            self._watch()


def _refusal(message: str) -> RedisError:
    code, _, rest = message.partition(" ")
    kind = _BY_CODE.get(code)
    return kind(rest) if kind else ResponseError(rest if code == "ERR" else message)
