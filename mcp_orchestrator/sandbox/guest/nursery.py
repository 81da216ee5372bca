"""A process that forks guests: its Python has started, and the guest's modules are there already.

It runs no foreign code and is told nothing of what its guests will run, so no guest inherits
anything of another. Each is forked into a sandbox of its own and used once, like any other guest.
"""

from __future__ import annotations

import _socket
import gc
import marshal
import os
import sys

from mcp_orchestrator.sandbox.guest import isolation, program, signals, supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_ORDERS = 3
_LONGEST_ORDER = 65536
_MOST_DESCRIPTORS = 8
_INTEGER_BYTES = 4
_MOST_OPEN = 1024


def serve(install_more: Callable[[], None]) -> NoReturn:
    """Fork a guest for each order, until the launcher has gone.

    The first message is the system-call filter. An order comes with the guest's channel, where it
    complains, and files that move whoever writes to them into its control groups.

    Args:
        install_more: makes the test runner and the sessions importable.
    """
    orders = _socket.socket(fileno=_ORDERS)
    walls = isolation.Isolation(orders.recv(_LONGEST_ORDER))
    program.furnish()
    signals.reap_by_itself()
    orders.send(b"ready")
    gc.collect()
    gc.freeze()
    while True:
        order, descriptors = _receive(orders)
        if os.fork() == 0:
            try:
                _become_guest(marshal.loads(order), descriptors, orders, walls, install_more)
            except BaseException as error:  # nothing may run on in the fork
                os.write(descriptors[1], f"nursery: {error!r}".encode())
            os._exit(1)
        for each in descriptors:
            os.close(each)


def _receive(orders: _socket.socket) -> tuple[bytes, list[int]]:
    space = _socket.CMSG_SPACE(_MOST_DESCRIPTORS * _INTEGER_BYTES)
    order, ancillary, _, _ = orders.recvmsg(_LONGEST_ORDER, space, _socket.MSG_CMSG_CLOEXEC)
    if not order:
        os._exit(0)
    data = b"".join(each for _, _, each in ancillary)
    return order, list(memoryview(data).cast("i"))


def _become_guest(
    order: dict[str, Any],
    descriptors: list[int],
    orders: _socket.socket,
    walls: isolation.Isolation,
    install_more: Callable[[], None],
) -> NoReturn:
    channel, complaining, *groups = descriptors
    for each in groups:
        os.write(each, b"0")  # by the right of the launcher, who opened them

    def inside() -> NoReturn:
        _announce(orders, order["box"])
        for place, descriptor in enumerate((channel, channel, complaining)):
            os.dup2(descriptor, place)
        os.closerange(_ORDERS, _MOST_OPEN)
        walls.build_walls(order["disk_bytes"])
        signals.reap_by_hand()
        supervisor.serve(install_more)

    walls.enter_namespaces(inside)


def _announce(orders: _socket.socket, box: int) -> None:
    """Hand the launcher what it needs to kill us, before anything can go wrong."""
    handle = os.pidfd_open(os.getpid()).to_bytes(_INTEGER_BYTES, sys.byteorder)
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handle)
    orders.sendmsg([str(box).encode()], [rights])
