"""The launcher: a process of its own that starts sandboxes, limits them, kills and reaps them.

It is told what to do over one socket, and has one more for each sandbox, the sandbox's lifeline:
when the server closes it, or dies, the sandbox is killed. When the first socket is closed, the
launcher ends everything and leaves. Only the standard library is imported here.
"""

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mcp_orchestrator.sandbox.bubblewrap import cgroups, staging
from mcp_orchestrator.sandbox.bubblewrap.command import (
    Layout,
    bwrap_arguments,
    nursery_arguments,
)
from mcp_orchestrator.sandbox.bubblewrap.nursery import Nursery
from mcp_orchestrator.sandbox.bubblewrap.packets import receive

GROUP_PREFIX = "mcpo-"
_SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER
_RETRY_SECONDS = 0.01
_LONGEST_COMPLAINT = 4000
_FREE = 16  # from here on no descriptor has a place of its own


@dataclass
class _Box:
    """One sandbox.

    Attributes:
        lifeline: where the server asks about it, and lets go of it.
        complaints: what it says when it does not start.
        group: its control group.
        held: the controllers that took its limits.
        process: a descriptor that stands for its process; None until the nursery has forked it.
        wanted: False when it is to be killed as soon as it is there.
    """

    lifeline: socket.socket
    complaints: int
    group: cgroups.Group | None
    held: list[str]
    process: int | None = None
    wanted: bool = True


class Launcher:
    """The launcher's state.

    Args:
        control: the socket on which sandboxes are asked for.
        settings: what the server said first: program, layout, filter, unprivileged user.
    """

    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._open = True
        self._boxes: dict[int, _Box] = {}
        self._busy_groups: list[cgroups.Group] = []
        self._count = 0
        self._bwrap: str = settings["bwrap"]
        self._program: str = settings["program"]
        self._filter = base64.b64decode(settings["filter"])
        self._modules = base64.b64decode(settings["modules"])
        self._user: int | None = settings["user"] if os.geteuid() == 0 else None
        self._stage = staging.Stage()
        if self._user is not None:
            self._stage_bwrap()
        self._layout = self._read_layout(settings["layout"])
        self._hierarchies = cgroups.find_hierarchies(GROUP_PREFIX)
        self._nursery: Nursery | None = None

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
        self._selector.register(self._control, selectors.EVENT_READ, self._take_order)
        self._selector.register(wake, selectors.EVENT_READ, partial(wake.recv, 4096))
        self._control.send(json.dumps(self._greeting()).encode())
        while self._open or self._boxes or self._busy_groups:
            pause = _RETRY_SECONDS if self._busy_groups else None
            for key, _ in self._selector.select(pause):
                key.data()
            _reap()
            self._busy_groups = [each for each in self._busy_groups if not each.remove()]
        signal.set_wakeup_fd(-1)

    def _greeting(self) -> dict[str, object]:
        forks, complaint = bool(self._modules), ""
        if forks:
            try:
                self._open_nursery()
            except OSError as error:
                forks, complaint = False, str(error)
        controllers = self._hierarchies.controllers
        return {"ready": True, "controllers": controllers, "forks": forks, "error": complaint}

    def _open_nursery(self) -> Nursery:
        """Return the nursery, started if need be; raises OSError where it does not work."""
        if self._nursery is None:
            arguments = nursery_arguments(self._layout, program=self._program)
            start = partial(self._start_bwrap, arguments)
            self._nursery = Nursery.start(start, self._modules, self._filter)
            hear = partial(self._hear, self._nursery)
            self._selector.register(self._nursery.orders, selectors.EVENT_READ, hear)
        return self._nursery

    def _hear(self, nursery: Nursery) -> None:
        """Take in a guest that was forked, or the nursery's end."""
        if nursery is not self._nursery:
            return  # replaced since it was heard
        try:
            number, process = nursery.hear()
        except ConnectionError:
            self._close_nursery()
            return
        box = self._boxes[number]
        self._watch(number, box, process)
        if not box.wanted:
            self._kill(box)

    def _close_nursery(self) -> None:
        if self._nursery is not None:
            self._selector.unregister(self._nursery.orders)
            self._nursery.close()
            self._nursery = None
        for number, box in list(self._boxes.items()):
            if box.process is None:
                self._bury(number)

    def _take_order(self) -> None:
        """Start a sandbox, or end everything when the server has gone."""
        try:
            message, descriptors = receive(self._control, 2)
        except ConnectionError:
            message, descriptors = b"", []
        if not message:
            self._open = False
            self._selector.unregister(self._control)
            for box in list(self._boxes.values()):
                self._kill(box)
            self._close_nursery()
            return
        channel = descriptors[0]
        lifeline = socket.socket(fileno=descriptors[1])
        try:
            self._start(json.loads(message), channel, lifeline)
        except OSError as error:
            _tell(lifeline, {"ended": True, "complaints": str(error)})
            lifeline.close()
        finally:
            os.close(channel)

    def _start(self, order: dict[str, Any], channel: int, lifeline: socket.socket) -> None:
        self._count += 1
        name = f"{GROUP_PREFIX}{os.getpid()}-{self._count}"
        group = self._hierarchies.create(name) if self._hierarchies.parents else None
        held = group.limit(cgroups.Allowance(**order["allowance"])) if group else []
        complaints, complaining = os.pipe()
        os.set_blocking(complaints, False)
        box = _Box(lifeline, complaints, group, held)
        try:
            if order["forked"]:
                self._have_forked(self._count, order["disk_bytes"], [channel, complaining], group)
                self._boxes[self._count] = box
            else:
                process_id = self._start_alone(order, channel, complaining, group)
                self._watch(self._count, box, os.pidfd_open(process_id))
        except OSError:
            os.close(complaints)
            if group is not None:
                group.remove()
            raise
        finally:
            os.close(complaining)
        _tell(lifeline, {"held": held, "group": group.as_message() if group else None})
        self._selector.register(lifeline, selectors.EVENT_READ, partial(self._take_word, box))

    def _have_forked(
        self, number: int, disk_bytes: int, lines: list[int], group: cgroups.Group | None
    ) -> None:
        """Have the nursery fork a guest; one that has died is started again first."""
        doors = group.doors() if group is not None else []
        try:
            try:
                self._open_nursery().order(number, disk_bytes, [*lines, *doors])
            except BrokenPipeError:
                self._close_nursery()
                self._open_nursery().order(number, disk_bytes, [*lines, *doors])
        finally:
            for each in doors:
                os.close(each)

    def _start_alone(
        self, order: dict[str, Any], channel: int, complaining: int, group: cgroups.Group | None
    ) -> int:
        """Start a guest in a bubblewrap of its own and return bwrap's process id."""
        filter_reading, filter_writing = os.pipe()
        try:
            os.write(filter_writing, self._filter)  # it fits in the pipe
            os.close(filter_writing)
            layout = self._read_layout(order["layout"]) if "layout" in order else self._layout
            places = (channel, channel, complaining, filter_reading)
            arguments = bwrap_arguments(
                layout,
                disk_bytes=order["disk_bytes"],
                filter_descriptor=places.index(filter_reading),
                program=self._program,
                environment=order.get("environment", {}),
            )
            return self._start_bwrap(arguments, places, group)
        finally:
            os.close(filter_reading)

    def _start_bwrap(
        self,
        arguments: Sequence[str],
        descriptors: Sequence[int],
        group: cgroups.Group | None = None,
    ) -> int:
        """Fork and become bwrap: in its group, without root, without an environment."""
        process_id = os.fork()
        if process_id != 0:
            return process_id
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
            safe = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _FREE) for each in descriptors]
            for place, descriptor in enumerate(safe):
                os.dup2(descriptor, place)
            os.execve(self._bwrap, ["bwrap", *arguments], {})
        except BaseException as error:  # nothing may run on in the fork
            with contextlib.suppress(OSError):
                os.write(descriptors[2], f"{self._bwrap}: {error}".encode())
        os._exit(127)

    def _watch(self, number: int, box: _Box, process: int) -> None:
        box.process = process
        self._boxes[number] = box
        self._selector.register(process, selectors.EVENT_READ, partial(self._bury, number))

    def _take_word(self, box: _Box) -> None:
        """Answer the server about one sandbox; kill it when the server has let go of it."""
        if box.lifeline.fileno() < 0:
            return  # it was buried since the word was heard
        try:
            message, _ = receive(box.lifeline, 0)
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
        box.wanted = False
        if box.process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(box.process, signal.SIGKILL)

    def _bury(self, number: int) -> None:
        """Clear up after a sandbox that has ended."""
        box = self._boxes.pop(number)
        with contextlib.suppress(KeyError):
            self._selector.unregister(box.lifeline)
        if box.process is not None:
            self._selector.unregister(box.process)
            os.close(box.process)
        usage = box.group.usage() if box.group is not None else {}
        try:
            complaints = os.read(box.complaints, _LONGEST_COMPLAINT).decode(errors="replace")
        except BlockingIOError:
            complaints = ""
        os.close(box.complaints)
        _tell(box.lifeline, {"ended": True, "complaints": complaints, "usage": usage})
        box.lifeline.close()
        if box.group is not None and not box.group.remove():
            self._busy_groups.append(box.group)


def _wake_up(_number: int, _frame: object) -> None:
    """Do nothing: what matters is that the handler's byte ends the wait."""


def _tell(lifeline: socket.socket, message: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # the server has let go; it does not want to know
        lifeline.send(json.dumps(message).encode(), socket.MSG_DONTWAIT)


def _reap() -> None:
    """Ask for every child that has ended, those included that others left to us."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            continue


def main() -> None:
    """Run with the control socket as standard input."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # what bwrap leaves behind is ours to reap
    control = socket.socket(fileno=os.dup(0))
    message, _ = receive(control, 0)
    try:
        launcher = Launcher(control, json.loads(message))
    except OSError as error:
        control.send(json.dumps({"ready": False, "error": str(error)}).encode())
        sys.exit(1)
    launcher.serve()
