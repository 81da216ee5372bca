"""A program that stays: one interpreter that runs one piece of code after another.

Between two runs everything in the sandbox is stopped, so a session that nobody uses costs no
processor time.
"""
# Imports cost the guest its milliseconds, pathlib most of all.
# ruff: noqa: PTH109, PTH123
# pyright: reportMissingImports=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import _signal
import io
import os
import select
import sys
import time
from types import ModuleType
from typing import Any, NoReturn

from mcp_orchestrator.sandbox.guest import frames, program
from mcp_orchestrator.sandbox.guest.capture import Capture
from mcp_orchestrator.sandbox.guest.supervisor import Fork, Run, receive, write_files

_TICKS = os.sysconf("SC_CLK_TCK")


def serve(fork: Fork, request: dict[str, Any]) -> NoReturn:
    """Run requests until the program ends, its time is over or the host has gone."""
    session = SessionRun(fork, request)
    while True:
        session.take_turn(request)
        request = receive()


class SessionRun(Run):
    """The runs of one session, on one process; see ``Run``."""

    def __init__(self, fork: Fork, request: dict[str, Any]) -> None:
        super().__init__(fork, {**request, "files": {}})
        self._answers = next(end for end, kind in fork.pipes.items() if kind == frames.REPORT)
        del self._pipes[self._answers]
        self._cpu_before = 0.0

    def take_turn(self, request: dict[str, Any]) -> None:
        """Run one piece of code; returns when the session goes on afterwards."""
        sizes: tuple[int, int] = (request["whole_bytes"], request["output_bytes"] // 2)
        self._captures = {frames.STDOUT: Capture(*sizes), frames.STDERR: Capture(*sizes)}
        self._status = None
        self._continue()
        write_files(request["files"])
        if self._artifacts is not None:
            self._artifacts.know(list(request["files"]))
        started = time.monotonic()
        code = None
        if self._fork.order(request):
            code = self._await_turn(started + request["wall_seconds"])
        if code is None:
            self.finish(started)
        os.kill(-1, _signal.SIGSTOP)
        for descriptor in self._pipes:
            while self._pass_on(descriptor, once=False):
                pass
        outcome = self._outcome(time.monotonic() - started)
        cpu = _cpu_seconds(self._process_id)
        outcome.update(exit_code=code, cpu_seconds=cpu - self._cpu_before, alive=True)
        self._cpu_before = cpu
        self._tell(outcome)

    def _continue(self) -> None:
        try:
            os.kill(-1, _signal.SIGCONT)
        except ProcessLookupError:
            return

    def _await_turn(self, deadline: float) -> int | None:
        """Pass output on until the piece has ended; None when the session is over."""
        ended = os.pidfd_open(self._process_id)
        poller = select.poll()
        for descriptor in (ended, self._answers, *self._pipes):
            poller.register(descriptor, select.POLLIN)
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    self._timed_out = True
                    return None
                ready = [descriptor for descriptor, _ in poller.poll(left * 1000)]
                for descriptor in ready:
                    if descriptor in self._pipes and not self._pass_on(descriptor):
                        poller.unregister(descriptor)
                if ended in ready:
                    return None
                if self._answers in ready:
                    answer = os.read(self._answers, 1)
                    return answer[0] if answer else None
        finally:
            os.close(ended)


def _cpu_seconds(process_id: int) -> float:
    try:
        with open(f"/proc/{process_id}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(int(each) for each in fields[11:15]) / _TICKS  # its own and its children's


def interpret(order: dict[str, Any]) -> int:
    """Run the pieces of code that come, all in one module; never returns by itself."""
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=__builtins__)
    sys.modules["__main__"] = main
    sys.path.insert(0, os.getcwd())
    while True:
        os.environ.update(order["environment"])
        sys.argv = [order["main"], *order["arguments"]]
        sys.stdin = io.TextIOWrapper(io.BytesIO(order["stdin"]), "utf-8")
        code = _run(order["code"], main, order["main"])
        program.save_figures()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # closed or replaced by the program
                code = code or 120
        os.write(program.REPORT_DESCRIPTOR, bytes([code]))
        order = program.await_order()


def _run(source: bytes, main: ModuleType, name: str) -> int:
    path = f"/tmp/{name}"  # where a traceback finds its lines
    try:
        with open(path, "wb") as file:
            file.write(source)
        exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)
    except SystemExit as error:
        return program.exit_code(error.code)
    except BaseException as error:  # as the interpreter does for the main program
        program.show(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0
