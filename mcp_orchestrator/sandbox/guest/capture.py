"""Keeping the head and the tail of what a program writes, whatever it writes."""


class Capture:
    """One output of a program; the head goes to the host at once, the tail at the end.

    Args:
        head: how many bytes from the beginning are sent on.
        tail: how many of the last bytes after those are kept.
    """

    def __init__(self, head: int, tail: int) -> None:
        self.total = 0
        self._head_left = head
        self._tail_size = tail
        self._tail = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take a piece of output and return the part of it that belongs to the head."""
        self.total += len(data)
        head = data[: self._head_left]
        self._head_left -= len(head)
        self._tail += data[len(head) :]
        if len(self._tail) > 4 * self._tail_size:
            self._trim()
        return head

    def tail(self) -> bytes:
        """Return the last bytes that were not in the head."""
        self._trim()
        return bytes(self._tail)

    def _trim(self) -> None:
        surplus = len(self._tail) - self._tail_size
        if surplus > 0:
            del self._tail[:surplus]
