"""The frames that host and guest exchange: a kind, a length, a payload."""

import struct

HEADER = struct.Struct(">cI")
#: No frame is longer; a guest that says otherwise is lying.
LONGEST_FRAME = 64 * 1024 * 1024

#: What comes from the host is marshalled, in a version that every Python 3 reads: the guest trusts
#: the host. What comes from a guest is JSON: the host trusts no guest.
MARSHAL_VERSION = 2

MODULES = b"M"  # host to guest: the guest's own modules, as pairs of name and source
COMPILED = b"C"  # either way: the modules compiled for one interpreter, marshalled
REQUEST = b"R"  # host to guest: what to run
HELLO = b"H"  # guest to host: ready, and what the guest sees of its walls, as JSON
STDOUT = b"o"  # guest to host: a piece of the head of stdout
STDERR = b"e"  # guest to host: a piece of the head of stderr
STDOUT_TAIL = b"O"  # guest to host: the tail of stdout
STDERR_TAIL = b"E"  # guest to host: the tail of stderr
REPORT = b"T"  # guest to host: lines of the test report
ARTIFACT = b"A"  # guest to host: a piece of a file: length of its path, path, content
FINAL = b"F"  # guest to host: how the program ended, as JSON


class FrameError(Exception):
    """The other side does not keep to the protocol."""


def pack(kind: bytes, payload: bytes) -> bytes:
    """Return a frame ready to be sent."""
    return HEADER.pack(kind, len(payload)) + payload


class FrameReader:
    """Cuts a stream of bytes into frames, however it was chopped on the way."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Take bytes and return the frames completed by them.

        Raises:
            FrameError: a frame is longer than any may be.
        """
        self._buffer += data
        complete: list[tuple[bytes, bytes]] = []
        while len(self._buffer) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer)
            if length > LONGEST_FRAME:
                raise FrameError(f"a frame of {length} bytes")
            end = HEADER.size + length
            if len(self._buffer) < end:
                break
            complete.append((kind, bytes(self._buffer[HEADER.size : end])))
            del self._buffer[:end]
        return complete
