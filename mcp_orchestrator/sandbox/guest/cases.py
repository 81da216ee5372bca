"""The test runner inside: takes tests in any of their three forms, in milliseconds.

``test_*`` functions and ``Test*`` classes, ``unittest.TestCase`` classes, and bare ``assert`` lines
are run by the standard library alone; tests that need pytest itself are handed to pytest.
"""
# Imports cost the guest its milliseconds, pathlib most of all.
# ruff: noqa: PTH109, PTH118, PTH119, PTH123, PLC0415

import __future__

import ast
import importlib
import os
import sys
import time
from collections.abc import Callable
from types import CodeType, CoroutineType, FunctionType, ModuleType
from typing import Any, cast

from mcp_orchestrator.sandbox.guest import assertions, pytest_cases, unittest_cases
from mcp_orchestrator.sandbox.guest import reached as measuring
from mcp_orchestrator.sandbox.guest.report import Reporter, has_assertion

_REPORT_DESCRIPTOR = 3


def run(request: dict[str, Any]) -> int:
    """Run the tests of a request; returns 0 when all of them passed."""
    folder = os.getcwd()
    settings: dict[str, str] = request["tests"]
    reporter = Reporter(_REPORT_DESCRIPTOR, settings.pop("nonce"), folder)
    sys.path.insert(0, folder)
    sys.argv = [request["main"]]
    path = os.path.join(folder, request["main"])
    with open(path, encoding="utf-8") as file:
        source = file.read()
    reached = None
    if settings.get("coverage"):
        reached = measuring.measure(os.path.join(folder, f"{settings['module']}.py"))
    started = time.perf_counter()
    try:
        tree = ast.parse(source, path)
    except (SyntaxError, ValueError) as error:
        reporter.raised("tests", 0.0, error)
        reporter.end()
        return 1
    try:
        solution = importlib.import_module(settings["module"])
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit included: a program that ends is no module
        reporter.raised(f"import {settings['module']}", time.perf_counter() - started, error)
        reporter.end()
        return 1
    if pytest_cases.are_wanted(tree):
        pytest_cases.run(path, solution, reporter)
    else:
        _Collector(path, solution, reporter).run(tree)
    if reached is not None:
        reached.tell(reporter)
    reporter.end()
    return 0 if reporter.count and not reporter.failed else 1


def public_names(solution: ModuleType) -> dict[str, object]:
    """Return what tests may use of the program without importing it."""
    return {name: value for name, value in vars(solution).items() if not name.startswith("__")}


class _Collector:
    """Runs one test module, statement by statement and then its test functions and classes."""

    def __init__(self, path: str, solution: ModuleType, reporter: Reporter) -> None:
        self._path = path
        self._reporter = reporter
        name = os.path.basename(path)[: -len(".py")]
        self._module = ModuleType(name)
        self._module.__file__ = path
        self._names = self._module.__dict__
        self._names.update(public_names(solution))
        self._borrowed = dict(self._names)
        self._names.update(assertions.names())
        sys.modules[name] = self._module

    def run(self, tree: ast.Module) -> None:
        """Execute the module, then whatever tests it defined."""
        checking = {
            each.name
            for each in tree.body
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and has_assertion(each)
        }
        labels = [_label(statement, checking) for statement in tree.body]
        future = [each for each in tree.body if _is_future(each)]
        flags = sum(_future_flag(each) for each in future)
        for statement, label in zip(tree.body, labels, strict=True):
            code = self._compile(statement, flags)
            if label is not None:
                with self._reporter.measured(label):
                    exec(code, self._names)
            elif not self._execute(code, statement):
                return
        for name, value in list(self._names.items()):
            if name not in self._borrowed or self._borrowed[name] is not value:
                self._run_named(name, value)

    def _compile(self, statement: ast.stmt, flags: int) -> CodeType:
        module = assertions.rewrite(ast.Module([statement], []))
        return compile(module, self._path, "exec", flags=flags, dont_inherit=True)

    def _execute(self, code: CodeType, statement: ast.stmt) -> bool:
        try:
            exec(code, self._names)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the tests' own set-up: report it as it is
            self._reporter.raised(f"line {statement.lineno}", 0.0, error)
            return False
        return True

    def _run_named(self, name: str, value: object) -> None:
        if isinstance(value, type):
            if _is_unittest(value):
                unittest_cases.run(value, self._reporter)
            elif name.startswith("Test"):
                self._run_class(value)
        elif name.startswith("test") and isinstance(value, FunctionType):
            self._run_function(name, value)

    def _run_function(self, name: str, function: Callable[[], object]) -> None:
        with self._reporter.measured(name):
            returned = function()
            _finish(returned)

    def _run_class(self, kind: type) -> None:
        for name in [each for each in dir(kind) if each.startswith("test")]:
            with self._reporter.measured(f"{kind.__name__}.{name}"):
                instance = kind()
                _call_if_there(instance, "setup_method")
                try:
                    returned = getattr(instance, name)()
                    _finish(returned)
                finally:
                    _call_if_there(instance, "teardown_method")


def _finish(returned: object) -> None:
    """Await what a test returned, if it is a coroutine."""
    if isinstance(returned, CoroutineType):
        import asyncio  # costly, and seldom needed

        asyncio.run(cast("CoroutineType[Any, Any, Any]", returned))


def _is_unittest(value: type) -> bool:
    unittest = sys.modules.get("unittest")  # a test module that needs it has imported it
    return unittest is not None and issubclass(value, unittest.TestCase)


def _call_if_there(instance: object, name: str) -> None:
    method = getattr(instance, name, None)
    if method is not None:
        method()


def _label(statement: ast.stmt, checking: set[str]) -> str | None:
    """Name a top-level statement that is a test of its own; None for all others."""
    if isinstance(
        statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    ) or _is_main_guard(statement):
        return None
    calls = {
        each.func.id
        for each in ast.walk(statement)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
    }
    if has_assertion(statement) or (not isinstance(statement, ast.Assign) and calls & checking):
        return f"line {statement.lineno}"
    return None


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _future_flag(statement: ast.stmt) -> int:
    names = [alias.name for alias in cast("ast.ImportFrom", statement).names]
    return sum(getattr(__future__, name).compiler_flag for name in names)
