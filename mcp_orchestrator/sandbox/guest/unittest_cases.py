"""Tests written as ``unittest.TestCase`` classes."""
# Imports cost the guest its milliseconds, pathlib most of all.
# ruff: noqa: PLC0415, N802, ARG002

import time
from typing import TYPE_CHECKING, Any

from mcp_orchestrator.sandbox.guest.report import Reporter

if TYPE_CHECKING:
    import unittest


def _name(test: object) -> str:
    return f"{type(test).__name__}.{getattr(test, '_testMethodName', '')}"


class _Listener:
    """What unittest tells of each test, passed on to the report."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._ending: tuple[str, BaseException | None] = ("passed", None)
        self._began = 0.0

    def started(self, test: object) -> None:
        self._ending, self._began = ("passed", None), time.perf_counter()
        self._reporter.start(_name(test))

    def raised(self, test: object, error: BaseException) -> None:
        if hasattr(test, "_testMethodName"):
            self._ending = ("raised", error)
        else:  # setUpClass and the like, outside any test
            self._reporter.raised(str(test), 0.0, error)

    def skipped(self, test: object, reason: str) -> None:
        self._ending = ("skipped", Exception(reason))

    def stopped(self, test: object) -> None:
        seconds = time.perf_counter() - self._began
        outcome, error = self._ending
        if outcome == "raised" and error is not None:
            self._reporter.raised(_name(test), seconds, error)
        else:
            self._reporter.case(_name(test), outcome, seconds, str(error or ""))


def run(kind: "type[unittest.TestCase]", reporter: Reporter) -> None:
    """Run the tests of one class."""
    import unittest

    listener = _Listener(reporter)

    class Result(unittest.TestResult):
        def startTest(self, test: unittest.TestCase) -> None:
            super().startTest(test)
            listener.started(test)

        def addFailure(self, test: unittest.TestCase, err: Any) -> None:
            listener.raised(test, err[1])

        def addError(self, test: unittest.TestCase, err: Any) -> None:
            listener.raised(test, err[1])

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                listener.raised(test, err[1])

        def addSkip(self, test: unittest.TestCase, reason: str) -> None:
            listener.skipped(test, reason)

        def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
            listener.raised(test, AssertionError("it passed, though it was expected to fail"))

        def stopTest(self, test: unittest.TestCase) -> None:
            listener.stopped(test)
            super().stopTest(test)

    unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(Result())
