"""A stream to and from a container's standard input, output and error.

The SDK's own stream reads through a buffer and has no deadline; this one is a plain socket that has
been handed over by the engine (HTTP upgrade), cut into the engine's frames: one byte for the
stream, three of nothing, four for the length.
"""

import socket
import struct

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.docker.engine import DockerEngine

_HEADER = struct.Struct(">BxxxI")
_STDERR = 2
_LONGEST_ANSWER = 65_536


class Demultiplexer:
    """Separates what the engine sends into standard output and standard error."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.errors = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take bytes and return the standard output among them; errors are gathered aside."""
        self._buffer += data
        output = bytearray()
        while len(self._buffer) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            payload = self._buffer[_HEADER.size : end]
            if stream == _STDERR:
                self.errors += payload[: _LONGEST_ANSWER - len(self.errors)]
            else:
                output += payload
            del self._buffer[:end]
        return bytes(output)


def attach(engine: DockerEngine, container: str) -> tuple[socket.socket, bytes]:
    """Attach to a created container; returns the socket and what it has already brought.

    Raises:
        SandboxUnavailableError: the engine refused.
    """
    connection: socket.socket | None = None
    try:
        connection = engine.connect()
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        path = f"/v{engine.api_version}/containers/{container}/attach?{query}"
        request = (
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(_LONGEST_ANSWER)
            if not piece or len(answer) > _LONGEST_ANSWER:
                raise ConnectionError("the engine closed the connection")
            answer += piece
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = head.split(b"\r\n")[0].decode("latin-1")
        if status.split(" ")[1:2] not in (["101"], ["200"]):
            raise ConnectionError(status)
    except OSError as error:
        if connection is not None:
            connection.close()
        raise SandboxUnavailableError(
            f"Docker did not attach to a container: {error}.", remedy="See the engine's log."
        ) from error
    connection.setblocking(False)
    return connection, rest
