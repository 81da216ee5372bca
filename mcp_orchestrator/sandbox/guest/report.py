"""The test report: one line of JSON for each thing that happened, on a pipe of its own.

Every line carries the request's nonce; the host drops lines without it. What was not reported did
not pass.
"""
# Imports cost the guest its milliseconds, pathlib most of all.
# ruff: noqa: PTH119, PLC0415

import ast
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType, FunctionType, ModuleType, TracebackType

from mcp_orchestrator.sandbox.guest.assertions import shorten
from mcp_orchestrator.sandbox.guest.json_text import dumps

_MOST_FRAMES = 4
_MOST_LOCALS = 12
_LONGEST_LOCAL = 160
_LONGEST_MESSAGE = 4000
_MOST_LINES = 5000


class Reporter:
    """Writes the report of one request.

    Args:
        descriptor: the pipe.
        nonce: what proves that a line is the runner's.
        folder: where the code and its tests are; frames elsewhere are left out.
    """

    def __init__(self, descriptor: int, nonce: str, folder: str) -> None:
        self._descriptor = descriptor
        self._nonce = nonce
        self._folder = folder
        self.failed = 0
        self.count = 0

    def start(self, name: str) -> None:
        """Say that a test begins, so that one that never ends is known by name."""
        self._write({"start": name})

    def case(
        self,
        name: str,
        outcome: str,
        seconds: float,
        message: str = "",
        trace: TracebackType | None = None,
    ) -> None:
        """Say how a test ended."""
        self.count += 1
        self.failed += outcome in {"failed", "error"}
        frames = list(self._frames(trace))[-_MOST_FRAMES:]
        self._write(
            {
                "case": name,
                "outcome": outcome,
                "seconds": seconds,
                "message": message[:_LONGEST_MESSAGE],
                "frames": frames,
            }
        )

    def raised(self, name: str, seconds: float, error: BaseException) -> None:
        """Say that a test ended in an exception."""
        outcome = "failed" if isinstance(error, AssertionError) else "error"
        self.case(name, outcome, seconds, describe(error), error.__traceback__)

    @contextmanager
    def measured(self, name: str) -> Generator[None]:
        """Report the block as one test."""
        self.start(name)
        started = time.perf_counter()
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a test raises is its outcome
            seconds = time.perf_counter() - started
            if type(error).__name__ in {"SkipTest", "Skipped"}:
                self.case(name, "skipped", seconds, str(error))
            else:
                self.raised(name, seconds, error)
        else:
            self.case(name, "passed", time.perf_counter() - started)

    def reached(self, statements: int, missing: list[int]) -> None:
        """Say how many statements the program has, and the lines of those that were not run."""
        self._write({"statements": statements, "missing": missing[:_MOST_LINES]})

    def end(self) -> None:
        """Say that every test had its turn."""
        self._write({"end": self.count})

    def _write(self, line: dict[str, object]) -> None:
        data = memoryview(dumps({"nonce": self._nonce, **line}).encode() + b"\n")
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _frames(self, trace: TracebackType | None) -> Iterator[dict[str, object]]:
        import linecache  # only failures need it

        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename.startswith(self._folder):
                yield {
                    "function": code.co_name,
                    "file": os.path.basename(code.co_filename),
                    "line": trace.tb_lineno,
                    "source": linecache.getline(code.co_filename, trace.tb_lineno).strip(),
                    "locals": _locals(trace.tb_frame),
                }
            trace = trace.tb_next


def describe(error: BaseException) -> str:
    """Return the exception as one would read it at the end of a traceback."""
    try:
        text = str(error)
    except BaseException:  # the exception's own code, which may do anything
        text = "(its message cannot be read)"
    if isinstance(error, AssertionError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _locals(frame: FrameType) -> dict[str, str]:
    """Return the values a person would look at: no modules, functions, classes or imports."""
    if frame.f_code.co_name == "<module>":
        return {}
    shown: dict[str, str] = {}
    for name, value in frame.f_locals.items():
        if name.startswith(("@", "__")) or isinstance(value, (ModuleType, FunctionType, type)):
            continue
        shown[name] = shorten(value, _LONGEST_LOCAL)
        if len(shown) == _MOST_LOCALS:
            break
    return shown


def has_assertion(node: ast.AST) -> bool:
    """Tell whether an ``assert`` is anywhere below a node."""
    return any(isinstance(each, ast.Assert) for each in ast.walk(node))
