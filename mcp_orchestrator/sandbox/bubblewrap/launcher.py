"""The launcher: a process of its own that starts sandboxes, limits them, kills and reaps them.

It is told what to do over one socket, and has one more for each sandbox, the sandbox's lifeline:
when the server closes it, or dies, the sandbox is killed. When the first socket is closed, the
launcher ends everything and leaves. Only the standard library is imported here.
"""

import array
import base64
import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_orchestrator.sandbox.bubblewrap import cgroups, staging
from mcp_orchestrator.sandbox.bubblewrap.command import Layout, bwrap_arguments

#: How messages are cut: one JSON object in each packet.
LONGEST_MESSAGE = 200_000
GROUP_PREFIX = "mcpo-"
_SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER
_RETRY_SECONDS = 0.01
_LONGEST_COMPLAINT = 4000


@dataclass
class _Box:
    """One sandbox that runs."""

    process_id: int
    lifeline: socket.socket
    complaints: int
    group: cgroups.Group | None
    held: list[str]


class Launcher:
    """The launcher's state.

    Args:
        control: the socket on which sandboxes are asked for.
        settings: what the server said first: program, layout, filter, unprivileged user.
    """

    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._boxes: dict[int, _Box] = {}
        self._busy_groups: list[cgroups.Group] = []
        self._count = 0
        self._bwrap: str = settings["bwrap"]
        self._program: str = settings["program"]
        self._filter = base64.b64decode(settings["filter"])
        self._user: int | None = settings["user"] if os.geteuid() == 0 else None
        self._stage = staging.Stage()
        if self._user is not None:
            self._stage_bwrap()
        self._layout = self._read_layout(settings["layout"])
        self._hierarchies = cgroups.find_hierarchies(GROUP_PREFIX)

    def _stage_bwrap(self) -> None:
        """Move bwrap and its libraries to where the unprivileged user can reach them."""
        if staging.is_reachable(self._bwrap):
            return
        package = Path(self._bwrap).parents[1]
        libraries = package.with_name(f"{package.name}.libs")
        for each in (package, libraries):
            if each.is_dir():
                self._stage.add(str(each))
        self._bwrap = self._bwrap.replace(str(package), self._stage.add(str(package)), 1)

    def _read_layout(self, message: dict[str, Any]) -> Layout:
        binds = [(source, target) for source, target in message["binds"]]
        if self._user is not None:
            binds = [(self._stage.reachable(source), target) for source, target in binds]
        links = [(source, target) for source, target in message["symlinks"]]
        folders = message["module_folders"]
        return Layout(binds, links, message["interpreter"], message["path"], folders)

    def serve(self) -> None:
        """Work until the server closes its socket."""
        wake, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _wake_up)
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # the server decides when it ends
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(wake, selectors.EVENT_READ)
        reply = {"ready": True, "controllers": self._hierarchies.controllers}
        self._control.send(json.dumps(reply).encode())
        open_ = True
        while open_ or self._boxes or self._busy_groups:
            pause = _RETRY_SECONDS if self._busy_groups else None
            for key, _ in self._selector.select(pause):
                if key.fileobj is self._control:
                    open_ = self._take_order()
                elif key.fileobj is wake:
                    wake.recv(4096)
                elif isinstance(key.data, _Box):
                    self._take_word(key.data)
            self._reap()
            self._busy_groups = [each for each in self._busy_groups if not each.remove()]

    def _take_order(self) -> bool:
        """Start a sandbox; False when the server has gone, and everything with it."""
        try:
            message, descriptors = _receive(self._control, 2)
        except ConnectionError:
            message, descriptors = b"", []
        if not message:
            self._selector.unregister(self._control)
            for box in list(self._boxes.values()):
                self._kill(box)
            return False
        channel = descriptors[0]
        lifeline = socket.socket(fileno=descriptors[1])
        try:
            self._start(json.loads(message), channel, lifeline)
        except OSError as error:
            _tell(lifeline, {"exited": -1, "complaints": str(error)})
            lifeline.close()
        finally:
            os.close(channel)
        return True

    def _start(self, order: dict[str, Any], channel: int, lifeline: socket.socket) -> None:
        self._count += 1
        name = f"{GROUP_PREFIX}{os.getpid()}-{self._count}"
        group = self._hierarchies.create(name) if self._hierarchies.parents else None
        held = group.limit(cgroups.Allowance(**order["allowance"])) if group else []
        filter_reading, filter_writing = os.pipe()
        complaints, complaining = os.pipe()
        try:
            os.write(filter_writing, self._filter)  # it fits in the pipe
            layout = self._read_layout(order["layout"]) if "layout" in order else self._layout
            arguments = bwrap_arguments(
                layout,
                disk_bytes=order["disk_bytes"],
                filter_descriptor=filter_reading,
                program=self._program,
                environment=order.get("environment", {}),
            )
            os.close(filter_writing)
            process_id = os.fork()
            if process_id == 0:
                self._become(arguments, (channel, channel, complaining), filter_reading, group)
        except OSError:
            if group is not None:
                group.remove()
            raise
        finally:
            os.close(filter_reading)
            os.close(complaining)
        os.set_blocking(complaints, False)
        box = _Box(process_id, lifeline, complaints, group, held)
        self._boxes[process_id] = box
        _tell(lifeline, {"held": held, "group": group.as_message() if group else None})
        self._selector.register(lifeline, selectors.EVENT_READ, box)

    def _become(
        self,
        arguments: list[str],
        descriptors: tuple[int, int, int],
        filter_descriptor: int,
        group: cgroups.Group | None,
    ) -> None:
        """Turn the fork into bwrap: in its group, without root, without an environment."""
        try:
            signal.set_wakeup_fd(-1)
            for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            if group is not None:
                group.join()
            if self._user is not None:
                os.setgroups([])
                os.setresgid(self._user, self._user, self._user)
                os.setresuid(self._user, self._user, self._user)
            for place, descriptor in enumerate(descriptors):
                os.dup2(descriptor, place)
            os.set_inheritable(filter_descriptor, True)
            os.execve(self._bwrap, ["bwrap", *arguments], {})
        except BaseException as error:  # nothing may run on in the fork
            with contextlib.suppress(OSError):
                os.write(descriptors[2], f"{self._bwrap}: {error}".encode())
        os._exit(127)

    def _take_word(self, box: _Box) -> None:
        """Answer the server about one sandbox; kill it when the server has let go of it."""
        try:
            message, _ = _receive(box.lifeline, 0)
        except ConnectionError:
            message = b""
        if not message:
            self._kill(box)
            return
        word = json.loads(message)
        if "confine" in word and box.group is not None:
            box.held = box.group.limit(cgroups.Allowance(**word["confine"]))
        usage = box.group.usage() if box.group is not None else {}
        _tell(box.lifeline, {"held": box.held, "usage": usage})

    def _kill(self, box: _Box) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(box.lifeline)
        with contextlib.suppress(ProcessLookupError):
            os.kill(box.process_id, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                process_id, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process_id == 0:
                return
            box = self._boxes.pop(process_id, None)
            if box is not None:
                self._bury(box, status)

    def _bury(self, box: _Box, status: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(box.lifeline)
        usage = box.group.usage() if box.group is not None else {}
        try:
            complaints = os.read(box.complaints, _LONGEST_COMPLAINT).decode(errors="replace")
        except BlockingIOError:
            complaints = ""
        os.close(box.complaints)
        _tell(box.lifeline, {"exited": status, "complaints": complaints, "usage": usage})
        box.lifeline.close()
        if box.group is not None and not box.group.remove():
            self._busy_groups.append(box.group)


def _wake_up(_number: int, _frame: object) -> None:
    """Do nothing: what matters is that the handler's byte ends the wait."""


def _tell(lifeline: socket.socket, message: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # the server has let go; it does not want to know
        lifeline.send(json.dumps(message).encode(), socket.MSG_DONTWAIT)


def _receive(connection: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """Receive one packet and the descriptors that came with it, closed on exec."""
    space = socket.CMSG_SPACE(most * array.array("i").itemsize) if most else 0
    message, ancillary, _, _ = connection.recvmsg(LONGEST_MESSAGE, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors)


def main() -> None:
    """Run with the control socket as standard input."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # what bwrap leaves behind is ours to reap
    control = socket.socket(fileno=os.dup(0))
    message, _ = _receive(control, 0)
    try:
        launcher = Launcher(control, json.loads(message))
    except OSError as error:
        control.send(json.dumps({"ready": False, "error": str(error)}).encode())
        sys.exit(1)
    launcher.serve()
