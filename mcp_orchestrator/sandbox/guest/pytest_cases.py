"""Tests that need pytest itself: fixtures, parametrisation, ``pytest.raises``."""
# Imports cost the guest its milliseconds, pathlib most of all.
# ruff: noqa: PLC0415

import ast
import builtins
import sys
from types import ModuleType
from typing import Any

from mcp_orchestrator.sandbox.guest.report import Reporter

#: Where the back ends put pytest for interpreters that do not have it.
SITE = "/opt/site"


def are_wanted(tree: ast.Module) -> bool:
    """Tell whether a test module imports pytest or has tests that take fixtures."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if any(alias.name.split(".")[0] == "pytest" for alias in node.names):
                return True
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pytest":
            return True
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test")
        and len(node.args.args) > len(node.args.defaults)
        for node in tree.body
    )


class _Plugin:
    """Reports each test as pytest finishes it."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._errors: dict[str, BaseException] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._reporter.start(_short(nodeid))

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.excinfo is not None:
            self._errors[item.nodeid] = call.excinfo.value

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.passed and report.when != "call":
            return
        self._report(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._report(report)

    def _report(self, report: Any) -> None:
        name, seconds = _short(report.nodeid), float(getattr(report, "duration", 0.0))
        error = self._errors.get(report.nodeid)
        if report.skipped:
            self._reporter.case(name, "skipped", seconds, str(report.longrepr))
        elif report.passed:
            self._reporter.case(name, "passed", seconds)
        elif isinstance(error, BaseException):
            self._reporter.raised(name, seconds, error)
        else:
            self._reporter.case(name, "failed", seconds, str(report.longrepr))


def _short(node_id: str) -> str:
    return node_id.partition("::")[2].replace("::", ".") or node_id


def run(path: str, solution: ModuleType, reporter: Reporter) -> None:
    """Hand a test module to pytest, in this process."""
    if SITE not in sys.path:
        sys.path.append(SITE)
    try:
        import pytest
    except ImportError as error:
        reporter.raised("import pytest", 0.0, error)
        return
    for name, value in vars(solution).items():
        if not name.startswith("_") and not hasattr(builtins, name):
            setattr(builtins, name, value)
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", ".", "-c", "/dev/null", path]
    pytest.main(options, plugins=[_Plugin(reporter)])
