"""Cancelling something that should not be left half done: it gets a little time to finish."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def with_grace(work: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Run work that a cancel interrupts only after some seconds.

    The cancel itself is not lost: it goes on when the work has ended or the time is over.

    Args:
        work: what to run; its errors come out as they are.
        seconds: how long it may go on once we are cancelled.
    """
    shield = anyio.CancelScope(shield=True)
    results: list[T] = []
    failure: Exception | None = None

    async def end_soon_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            shield.deadline = anyio.current_time() + seconds

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end_soon_when_cancelled)
        with shield:
            try:
                results.append(await work())
            except Exception as error:
                failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not results:  # the time was over, so we are being cancelled; go on with that
        await anyio.sleep_forever()
    return results[0]
