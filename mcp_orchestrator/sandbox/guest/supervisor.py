"""The first process inside: takes one request, runs it in a fork, reports how it ended.

It is the parent of everything in the sandbox, so nothing outlives it, and the only one that talks
to the host. What the program writes goes through pipes, so it cannot forge a frame.
"""
# Imports cost the guest its milliseconds, pathlib and typing most of all.
# ruff: noqa: PTH103, PTH108, PTH120, PTH123

from __future__ import annotations

import gc
import marshal
import os
import resource
import select
import sys
import time

from mcp_orchestrator.sandbox.guest import frames, program, signals, walls
from mcp_orchestrator.sandbox.guest.artifacts import ArtifactCollector
from mcp_orchestrator.sandbox.guest.capture import Capture
from mcp_orchestrator.sandbox.guest.json_text import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_FROM_HOST, _TO_HOST = 0, 1
_PIECE = 65536
_LONGEST_REPORT = 4 * 1024 * 1024


def send(kind: bytes, payload: bytes) -> None:
    """Send a frame to the host."""
    data = memoryview(frames.pack(kind, payload))
    while data:
        data = data[os.write(_TO_HOST, data) :]


def receive() -> dict[str, Any]:
    """Wait for the next request; end when the host has gone."""
    reader = frames.FrameReader()
    while True:
        data = os.read(_FROM_HOST, _PIECE)
        if not data:
            os._exit(0)  # the host has no use for this worker any more
        for kind, payload in reader.feed(data):
            if kind == frames.REQUEST:
                return marshal.loads(payload)


def serve(install_more: Callable[[], None]) -> NoReturn:
    """Say what the walls look like, run one request, and end with the sandbox.

    Args:
        install_more: makes the test runner and the sessions importable.
    """
    walls.protect_supervisor()
    os.chdir("/box")
    sys.dont_write_bytecode = True
    gc.freeze()  # the fork then shares these pages instead of copying them
    fork = Fork()
    if fork.process_id == 0:
        _be_the_program(install_more)
    rehearse()
    send(frames.HELLO, dumps(walls.observe()).encode())
    request = receive()
    if "session" in request:
        install_more()
        from mcp_orchestrator.sandbox.guest import session  # noqa: PLC0415 — only now is it there

        session.serve(fork, request)
    started = time.monotonic()
    write_files(request["files"])
    fork.begin(request)
    run = Run(fork, request)  # while the program begins
    run.watch(started + request["wall_seconds"])
    run.finish(started)


def rehearse() -> None:
    """Do once what every request needs; see ``program.rehearse``."""
    request = {"files": {"main.py": b""}, "language": "python", "wall_seconds": 1.5}
    data = frames.pack(frames.REQUEST, marshal.dumps(request))
    reader = frames.FrameReader()
    for kind, payload in (*reader.feed(data[:9]), *reader.feed(data[9:])):
        if kind == frames.REQUEST:
            write_files(marshal.loads(payload)["files"])
    os.unlink("main.py")
    capture = Capture(1, 1)
    capture.feed(b"rehearsal")
    capture.tail()
    select.poll().register(_FROM_HOST, select.POLLIN)


def _be_the_program(install_more: Callable[[], None]) -> NoReturn:
    """Wait in the fork until there is a program, and run it."""
    program.furnish()
    program.rehearse()
    program.preload()
    request = program.await_order()
    program.become(request)
    if "tests" not in request and "session" not in request:
        program.end(program.run, request)
    install_more()
    from mcp_orchestrator.sandbox.guest import cases, session  # noqa: PLC0415 — only now there

    program.end(session.interpret if "session" in request else cases.run, request)


def write_files(files: dict[str, bytes]) -> None:
    """Put files into the working folder."""
    for name, content in files.items():
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(name, "wb") as file:
            file.write(content)


class Fork:
    """The program's process to be, forked before there is a program so that it starts at once.

    Attributes:
        process_id: its id; 0 in the fork itself.
        orders: where it is told what to do.
        pipes: what it writes to, each with the kind of frame that passes it on.
    """

    def __init__(self) -> None:
        waiting, self.orders = os.pipe()
        ends: list[tuple[int, int]] = [os.pipe() for _ in range(3)]
        self.pipes: dict[int, bytes] = {}
        self.process_id = os.fork()
        if self.process_id == 0:
            stdout, stderr, report = (writing for _, writing in ends)
            program.settle(stdout, stderr, report, waiting)
            return
        os.close(waiting)
        for (reading, writing), kind in zip(
            ends, (frames.STDOUT, frames.STDERR, frames.REPORT), strict=True
        ):
            os.close(writing)
            os.set_blocking(reading, False)
            self.pipes[reading] = kind

    def order(self, request: dict[str, Any]) -> bool:
        """Say what to do; False when the process is no more."""
        rest = {name: value for name, value in request.items() if name != "files"}
        order = marshal.dumps(rest)
        data = memoryview(len(order).to_bytes(4, "big") + order)
        try:
            while data:
                data = data[os.write(self.orders, data) :]
        except OSError:
            return False
        return True

    def begin(self, request: dict[str, Any]) -> None:
        """Say what to do, and that there is no more."""
        self.order(request)
        os.close(self.orders)


class Run:
    """One program from its order to its last byte."""

    def __init__(self, fork: Fork, request: dict[str, Any]) -> None:
        self._fork = fork
        self._request = request
        sizes: tuple[int, int] = (request["whole_bytes"], request["output_bytes"] // 2)
        self._captures = {frames.STDOUT: Capture(*sizes), frames.STDERR: Capture(*sizes)}
        self._artifacts: ArtifactCollector | None = None
        if "artifacts" in request:
            self._artifacts = ArtifactCollector(request["artifacts"])
            self._artifacts.know(list(request["files"]))
        self._reported = 0
        self._process_id = fork.process_id
        self._status: int | None = None
        self._timed_out = False
        self._pipes = fork.pipes

    def watch(self, deadline: float) -> None:
        """Pass output on until the program has ended or its time is over."""
        ended = os.pidfd_open(self._process_id)
        poller = select.poll()
        for descriptor in (ended, *self._pipes):
            poller.register(descriptor, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                self._timed_out = True
                return
            for descriptor, _ in poller.poll(left * 1000):
                if descriptor == ended:
                    return
                if not self._pass_on(descriptor):
                    poller.unregister(descriptor)

    def finish(self, started: float) -> NoReturn:
        """End whatever still runs, send the rest and the outcome, and end the sandbox."""
        duration = time.monotonic() - started
        if os.getpid() == 1:
            _kill_all()
        self._reap()
        for descriptor in self._pipes:
            while self._pass_on(descriptor, once=False):
                pass
        self._tell(self._outcome(duration))
        os._exit(0)

    def _tell(self, outcome: dict[str, object]) -> None:
        """Send the tails, the artifacts and the outcome."""
        for kind, source in (
            (frames.STDOUT_TAIL, frames.STDOUT),
            (frames.STDERR_TAIL, frames.STDERR),
        ):
            send(kind, self._captures[source].tail())
        if self._artifacts is not None:
            outcome["artifacts_omitted"] = self._artifacts.collect(_send_artifact)
        send(frames.FINAL, dumps(outcome).encode())

    def _outcome(self, duration: float) -> dict[str, object]:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        status = self._status
        exited = status is not None and os.WIFEXITED(status)
        signalled = status is not None and os.WIFSIGNALED(status)
        return {
            "exit_code": os.WEXITSTATUS(status) if status is not None and exited else None,
            "signal": os.WTERMSIG(status) if status is not None and signalled else None,
            "timed_out": self._timed_out,
            "duration_seconds": duration,
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "largest_process_bytes": used.ru_maxrss * 1024,
            "disk_free_bytes": min(_free_space("/box"), _free_space("/tmp")),
            "stdout_bytes": self._captures[frames.STDOUT].total,
            "stderr_bytes": self._captures[frames.STDERR].total,
            **walls.usage(),
        }

    def _reap(self) -> None:
        while True:
            try:
                process_id, status = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            if process_id == self._process_id:
                self._status = status

    def _pass_on(self, descriptor: int, *, once: bool = True) -> bool:
        """Read a piece and send what belongs to the head; False at the end of the pipe."""
        try:
            data = os.read(descriptor, _PIECE)
        except BlockingIOError:
            return once
        if not data:
            return False
        kind = self._pipes[descriptor]
        if kind == frames.REPORT:
            self._reported += len(data)
            if self._reported <= _LONGEST_REPORT:
                send(kind, data)
            return True
        head = self._captures[kind].feed(data)
        if head:
            send(kind, head)
        return True


def _send_artifact(path: str, piece: bytes) -> None:
    name = path.encode()
    send(frames.ARTIFACT, len(name).to_bytes(2, "big") + name + piece)


def _kill_all() -> None:
    """Kill every other process of this namespace, daemons included, in one atomic sweep."""
    try:
        os.kill(-1, signals.KILL)
    except ProcessLookupError:
        return


def _free_space(path: str) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
