"""The server's end of the launcher: starting it, asking it for sandboxes, ending it."""

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox import greeting
from mcp_orchestrator.sandbox.bubblewrap.command import INNER_USER
from mcp_orchestrator.sandbox.bubblewrap.installation import Installation
from mcp_orchestrator.sandbox.bubblewrap.packets import LONGEST_MESSAGE
from mcp_orchestrator.sandbox.sockets import receive

_START_SECONDS = 10.0
#: Imports the launcher without the packages around it, which would take time and memory.
_LEAN_START = """
import sys
from types import ModuleType
folder = sys.argv[1]
for name in ("mcp_orchestrator", "mcp_orchestrator.sandbox", "mcp_orchestrator.sandbox.bubblewrap"):
    package = sys.modules[name] = ModuleType(name)
    package.__path__ = [folder + "/" + "/".join(name.split(".")[1:])]
from mcp_orchestrator.sandbox.bubblewrap.launcher import main
main()
"""


class LauncherReply(BaseModel):
    """What the launcher says once it is up."""

    model_config = ConfigDict(frozen=True)

    ready: bool
    controllers: tuple[str, ...] = ()
    forks: bool = False
    error: str = ""


class GroupMessage(BaseModel):
    """Where the control group of a sandbox is."""

    model_config = ConfigDict(frozen=True)

    folders: dict[str, Path]
    unified: bool


class LifelineMessage(BaseModel):
    """What the launcher says of one sandbox."""

    model_config = ConfigDict(frozen=True)

    held: tuple[str, ...] = ()
    usage: dict[str, int] = Field(default_factory=dict)
    ended: bool = False
    complaints: str = ""
    group: GroupMessage | None = None


def layout_of(made: Installation) -> dict[str, object]:
    """Return what the launcher is told of a sandbox's file system."""
    return {
        "interpreter": made.interpreter, "path": made.path,
        "binds": made.binds, "symlinks": made.symlinks, "module_folders": made.module_folders,
    }  # fmt: skip


@dataclass(frozen=True)
class Lines:
    """Our ends of the two sockets of one sandbox."""

    channel: socket.socket
    lifeline: socket.socket


class LauncherControl:
    """A running launcher.

    Args:
        installation: what sandboxes are made of.
        system_call_filter: the compiled filter.
        nursery: have workers of the plain profile forked from a Python that has started.
    """

    def __init__(
        self, installation: Installation, system_call_filter: bytes, *, nursery: bool
    ) -> None:
        self._installation = installation
        self._filter = system_call_filter
        self._modules = greeting.sources_frame() if nursery else b""
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> LauncherReply:
        """Start the launcher and wait until it is up.

        Raises:
            SandboxUnavailableError: it could not be started, with the reason.
        """
        control = self._spawn()
        try:
            with anyio.fail_after(_START_SECONDS):
                message = await receive(control, LONGEST_MESSAGE)
        except TimeoutError as error:
            raise SandboxUnavailableError("The sandbox launcher did not start.") from error
        reply = (
            LauncherReply.model_validate_json(message)
            if message
            else LauncherReply(ready=False, error="it ended at once; see the log")
        )
        if not reply.ready:
            await self.close()
            raise SandboxUnavailableError(
                f"The sandbox launcher cannot work here: {reply.error}.",
                remedy="Run the server as an ordinary user, or where any user may read it.",
            )
        return reply

    def _spawn(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package = Path(__file__).parents[2]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LEAN_START, str(package)],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                env={}, cwd="/", start_new_session=True,
            )  # fmt: skip
        made = self._installation
        settings = {
            "bwrap": made.bwrap, "layout": layout_of(made), "user": INNER_USER,
            "program": greeting.bootstrap(), "filter": base64.b64encode(self._filter).decode(),
            "modules": base64.b64encode(self._modules).decode(),
        }  # fmt: skip
        ours.send(json.dumps(settings).encode())
        ours.setblocking(False)
        self._control = ours
        return ours

    def order(self, message: Mapping[str, object]) -> Lines:
        """Ask for a sandbox; a launcher that has died is started again first.

        Raises:
            SandboxUnavailableError: the launcher takes no orders.
        """
        channel, guest_end = socket.socketpair()
        lifeline, launcher_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.setblocking(False)
        lifeline.setblocking(False)
        data = json.dumps(message).encode()
        descriptors = [guest_end.fileno(), launcher_end.fileno()]
        with guest_end, launcher_end:
            try:
                self._send(data, descriptors)
            except OSError:
                channel.close()
                lifeline.close()
                raise
        return Lines(channel, lifeline)

    def _send(self, data: bytes, descriptors: list[int]) -> None:
        if self._control is None:
            raise SandboxUnavailableError("The sandbox is closed.")
        try:
            socket.send_fds(self._control, [data], descriptors)
        except (BrokenPipeError, ConnectionError):
            self._control.close()
            if self._process is not None:
                self._process.wait()  # it has ended
            socket.send_fds(self._spawn(), [data], descriptors)

    async def close(self) -> None:
        """End the launcher, and with it every sandbox; returns when all of it is gone."""
        control, process = self._control, self._process
        self._control, self._process = None, None
        if control is not None:
            control.close()
        if process is not None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(process.wait)
