"""The wire of the stdio transport: standard input and output, kept from everybody else.

Both are claimed before anything else happens in the process, so that whatever a pack, a library
or a child prints goes to stderr. Input is read without a thread: a thread that waits in ``read``
could not be ended by a signal.
"""

import os
from collections.abc import AsyncGenerator

import anyio

_CHUNK = 1 << 16


class InputLines:
    """The lines of a pipe, as the SDK's stdio transport iterates over them."""

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


class StandardStreams:
    """The client's end of the process; made once, before anything is printed."""

    def __init__(self) -> None:
        self.lines = InputLines(_move(0, os.O_RDONLY))
        self.output = anyio.wrap_file(os.fdopen(_move(1, None), "w", encoding="utf-8"))


def _move(descriptor: int, instead: int | None) -> int:
    """Move a standard stream to a descriptor of our own.

    Args:
        descriptor: 0 or 1.
        instead: flags to open the null device with in its place; None puts stderr there.
    """
    private = os.dup(descriptor)
    replacement = os.dup(2) if instead is None else os.open(os.devnull, instead)
    os.dup2(replacement, descriptor)
    os.close(replacement)
    return private
