"""Non-blocking sockets awaited directly, without a transport in between."""

import socket

import anyio


async def receive(connection: socket.socket, size: int) -> bytes:
    """Return what has come; nothing when the other end is gone."""
    while True:
        try:
            return connection.recv(size)
        except BlockingIOError:
            await anyio.wait_readable(connection)
        except ConnectionError:
            return b""


async def send(connection: socket.socket, data: bytes) -> None:
    """Send everything; the rest is dropped when the other end is gone."""
    left = memoryview(data)
    while left:
        try:
            left = left[connection.send(left) :]
        except BlockingIOError:
            await anyio.wait_writable(connection)
        except ConnectionError:
            return


def is_quiet(connection: socket.socket) -> bool:
    """Tell whether the other end is there and has said nothing."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
