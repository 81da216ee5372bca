"""Telling what a loop is at, where it takes long enough for somebody to wonder."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from mcp_orchestrator.clock import Clock

#: Seconds after which a call is worth a word: a word is a write to disk.
SLOW = 0.25


@asynccontextmanager
async def telling_when_slow(
    tell: Callable[[], Awaitable[None]], clock: Clock
) -> AsyncGenerator[None]:
    """Tell once that a block is at work, if it is not done within a moment.

    What the block raises comes out as it is, not in a group.
    """
    failures: list[Exception] = []
    async with anyio.create_task_group() as tasks:

        async def tell_later() -> None:
            await clock.sleep(SLOW)
            try:
                await tell()
            except Exception as error:  # raised below, as it is
                failures.append(error)

        tasks.start_soon(tell_later)
        try:
            yield
        except Exception as error:  # raised below, outside the group
            failures.insert(0, error)
        tasks.cancel_scope.cancel()
    if failures:
        raise failures[0]
