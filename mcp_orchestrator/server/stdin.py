"""Reading standard input without a thread, so that a signal can end the wait for it."""

import os
from collections.abc import AsyncGenerator

import anyio

_CHUNK = 1 << 16


def claim_stdin() -> int:
    """Move standard input to a descriptor of our own; what runs in here reads nothing.

    Returns:
        A descriptor with the client's messages; descriptor 0 is the null device from now on.
    """
    private = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return private


class StdinLines:
    """The lines of a pipe, as the SDK's stdio transport iterates over them.

    Args:
        descriptor: from ``claim_stdin``.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __aiter__(self) -> AsyncGenerator[str]:
        """Return the lines, without waiting for more than has been sent."""
        return self._lines()

    async def _lines(self) -> AsyncGenerator[str]:
        rest = b""
        while chunk := await self._read():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", errors="replace")
        if rest:
            yield rest.decode("utf-8", errors="replace")

    async def _read(self) -> bytes:
        try:
            await anyio.wait_readable(self._descriptor)
        except PermissionError:  # an ordinary file is always readable, and cannot be waited for
            await anyio.lowlevel.checkpoint()
        return os.read(self._descriptor, _CHUNK)
