"""Packets with descriptors. Only the standard library is imported here: the launcher uses it."""

import array
import socket

#: How messages are cut: one JSON object in each packet.
LONGEST_MESSAGE = 200_000


def receive(connection: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """Receive one packet and the descriptors that came with it, closed on exec.

    Args:
        connection: a socket that keeps packets apart.
        most: how many descriptors may come.
    """
    space = socket.CMSG_SPACE(most * array.array("i").itemsize) if most else 0
    message, ancillary, _, _ = connection.recvmsg(LONGEST_MESSAGE, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors)
