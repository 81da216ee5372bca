"""A nursery as the launcher sees it: a sandboxed Python that forks guests into their own sandboxes.

Only the standard library is imported here: the launcher uses it.
"""

import contextlib
import marshal
import os
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mcp_orchestrator.sandbox.bubblewrap.packets import receive

_START_SECONDS = 5.0
_GREETING = b"H"  # the kind of frame with which a guest says that its walls stand
_LONGEST_COMPLAINT = 4000
_LARGEST_FRAME = 65536
_TRIAL = 0
_MARSHAL_VERSION = 2  # which every Python reads; see guest.frames
_TRIAL_DISK_BYTES = 1 << 20

#: Forks, gives the child these descriptors in the places 0, 1, 2…, and becomes bwrap there.
StartBwrap = Callable[[Sequence[int]], int]


@dataclass(frozen=True)
class Nursery:
    """One that has forked a guest whose walls stood.

    Attributes:
        process_id: its bwrap's.
        orders: where it is told to fork, and hands back what the kernel knows its guests by.
    """

    process_id: int
    orders: socket.socket

    @classmethod
    def start(cls, start_bwrap: StartBwrap, modules: bytes, system_call_filter: bytes) -> "Nursery":
        """Start one and have it fork a first guest.

        Args:
            start_bwrap: starts the sandbox that it lives in.
            modules: the frame with the guest's modules.
            system_call_filter: the compiled filter.

        Raises:
            OSError: it does not work here, with its complaints.
        """
        orders, its_orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel, its_channel = socket.socketpair()
        reading, complaining = os.pipe()
        try:
            end = its_channel.fileno()
            process_id = start_bwrap((end, end, complaining, its_orders.fileno()))
        finally:
            its_channel.close()
            its_orders.close()
            os.close(complaining)
        nursery = cls(process_id, orders)
        try:
            nursery._wake(channel, modules, system_call_filter)
        except OSError as error:
            nursery.close()
            select.select([reading], [], [], _START_SECONDS)
            said = os.read(reading, _LONGEST_COMPLAINT).decode(errors="replace")
            raise OSError(f"no guests can be forked: {said.strip() or error}") from error
        finally:
            channel.close()
            os.close(reading)
        return nursery

    def _wake(self, channel: socket.socket, modules: bytes, system_call_filter: bytes) -> None:
        """Give it what every guest needs, and see that a guest of its can live."""
        self.orders.settimeout(_START_SECONDS)
        channel.settimeout(_START_SECONDS)
        self.orders.send(system_call_filter)
        channel.sendall(modules)
        if not self.orders.recv(_LARGEST_FRAME):
            raise OSError("it ended")
        self._try_out()
        self.orders.settimeout(None)

    def _try_out(self) -> None:
        """Fork a guest and hear its greeting; it ends as its channel is closed."""
        reading, complaining = os.pipe()
        channel, its_channel = socket.socketpair()
        with channel:
            channel.settimeout(_START_SECONDS)
            try:
                self.order(_TRIAL, _TRIAL_DISK_BYTES, [its_channel.fileno(), complaining])
            finally:
                its_channel.close()
                os.close(complaining)
            greeting = channel.recv(_LARGEST_FRAME)
            if not greeting.startswith(_GREETING):
                raise OSError(os.read(reading, _LONGEST_COMPLAINT).decode(errors="replace"))
            _, guest = self.hear()
            os.close(guest)
        os.close(reading)

    def order(self, box: int, disk_bytes: int, descriptors: Sequence[int]) -> None:
        """Have a guest forked.

        Args:
            box: how it will be called when it is there.
            disk_bytes: the size of its working folder, and of its ``/tmp``.
            descriptors: its channel, where it complains, and the files by which it joins its
                control groups.

        Raises:
            OSError: the nursery has ended.
        """
        order = marshal.dumps({"box": box, "disk_bytes": disk_bytes}, _MARSHAL_VERSION)
        socket.send_fds(self.orders, [order], descriptors)

    def hear(self) -> tuple[int, int]:
        """Return which guest is there now, and the descriptor that stands for its process.

        Raises:
            ConnectionError: the nursery has ended.
        """
        message, descriptors = receive(self.orders, 1)
        if not message:
            raise ConnectionError("the nursery has ended")
        return int(message), descriptors[0]

    def close(self) -> None:
        """Let it end, and every guest with it; returns when all of it is gone."""
        self.orders.close()
        with contextlib.suppress(ChildProcessError):  # it had ended before, and was asked for
            os.waitpid(self.process_id, 0)
