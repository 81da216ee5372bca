"""Ending on a signal: the first one asks everything to stop, the second one does not wait."""

import logging
import os
import signal
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

import anyio

_log = logging.getLogger(__name__)


_ASKING: Final = (signal.SIGINT, signal.SIGTERM)


async def until_signalled(work: Callable[[], Awaitable[None]]) -> None:
    """Run until the work ends, or SIGINT or SIGTERM asks for the end.

    The work is then cancelled and awaited. A second signal ends the process at once.
    """
    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            asked = False
            try:
                with anyio.open_signal_receiver(*_ASKING) as signals:
                    async for number in signals:
                        if asked:
                            os._exit(128 + number)
                        asked = True
                        name = signal.Signals(number).name
                        _log.info("Ending on %s; a second signal does not wait.", name)
                        work_scope.cancel()
            finally:
                if asked:  # what is closed after this may take long
                    _end_on_the_next()

        work_scope = anyio.CancelScope()
        tasks.start_soon(listen)
        with work_scope:
            await work()
        tasks.cancel_scope.cancel()


def _end_on_the_next() -> None:
    """End the process at once on the next signal, whatever it is about then."""

    def end(number: int, _: FrameType | None) -> None:
        os._exit(128 + number)

    for number in _ASKING:
        signal.signal(number, end)
