"""Waiting for what another process, or a part of this one that tells nobody, brings about."""

from collections.abc import Awaitable, Callable

import anyio


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 90) -> None:
    """Look again and again until a condition holds.

    Raises:
        TimeoutError: it does not within so many seconds.
    """
    with anyio.fail_after(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.02)
