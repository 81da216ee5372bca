"""From a test request to the guest's words, and from the guest's report back to test cases."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mcp_orchestrator.sandbox.request import ExecutionRequest, TestRequest
from mcp_orchestrator.sandbox.result import (
    Coverage,
    ExecutionResult,
    Frame,
    RunStatus,
    TestCase,
    TestReport,
)

_MOST_CASES = 5000
#: Beside a start and a case for each test: the lines reached, and the end.
_OTHER_LINES = 2


class _FrameLine(BaseModel):
    model_config = ConfigDict(frozen=True)
    function: str
    file: str
    line: int
    source: str
    locals: dict[str, str]


class _Line(BaseModel):
    """One line of the report: a start, a case, the lines reached or the end."""

    model_config = ConfigDict(frozen=True)
    nonce: str
    start: str | None = None
    case: str | None = None
    outcome: Literal["passed", "failed", "error", "skipped"] = "error"
    seconds: float = 0.0
    message: str = ""
    frames: tuple[_FrameLine, ...] = ()
    end: int | None = Field(default=None, ge=0)
    statements: int | None = Field(default=None, ge=0)
    missing: tuple[int, ...] = ()


def as_execution(request: TestRequest) -> ExecutionRequest:
    """Return the run that carries the tests out; its main file is the test module."""
    files: dict[str, str | bytes] = dict(request.files)
    files[f"{request.module_name}.py"] = request.code
    return ExecutionRequest(
        code=request.tests,
        files=MappingProxyType(files),
        limits=request.limits,
        owner=request.owner,
        saga_id=request.saga_id,
        task_id=request.task_id,
        allow_risky=request.allow_risky,
        profile=request.profile,
    )


def name_of_tests(request: TestRequest) -> str:
    """Return the name of the file that the tests are put in."""
    return f"test_{request.module_name}.py"


def guest_settings(request: TestRequest, nonce: str) -> Mapping[str, str]:
    """Return what the guest's test runner is told."""
    settings = {"module": request.module_name, "nonce": nonce}
    return settings | {"coverage": "1"} if request.coverage else settings


def read_report(report: bytes, nonce: str, run: ExecutionResult) -> TestReport:
    """Turn a guest's report into test cases; what it does not say did not pass.

    Args:
        report: lines of JSON, perhaps cut short, perhaps with forged ones among them.
        nonce: what a genuine line carries.
        run: how the run ended, which names why the last test did not end.
    """
    cases: list[TestCase] = []
    running: str | None = None
    ended: int | None = None
    coverage: Coverage | None = None
    for raw in report.splitlines()[: 2 * _MOST_CASES + _OTHER_LINES]:
        line = _parse(raw, nonce)
        if line is None:
            continue
        if line.start is not None:
            running = line.start
        elif line.case is not None:
            cases.append(_case(line))
            running = None
        elif line.end is not None:
            ended = line.end
        elif line.statements is not None:
            coverage = Coverage(line.statements, line.missing)
    complete = ended == len(cases) and running is None
    if not complete:
        name = running if running is not None else "tests"
        cases.append(TestCase(name, "error", _unfinished(run)))
    passed = sum(case.outcome == "passed" for case in cases)
    failed = sum(case.outcome in {"failed", "error"} for case in cases)
    all_passed = complete and passed > 0 and failed == 0 and run.status is RunStatus.OK
    return TestReport(run, tuple(cases), passed, failed, all_passed, coverage)


def _parse(raw: bytes, nonce: str) -> _Line | None:
    try:
        line = _Line.model_validate_json(raw)
    except ValidationError:
        return None
    return line if line.nonce == nonce else None


def _case(line: _Line) -> TestCase:
    frames = tuple(
        Frame(each.function, each.line, each.source, MappingProxyType(each.locals), each.file)
        for each in line.frames
    )
    return TestCase(line.case or "", line.outcome, line.message, frames, line.seconds)


def _unfinished(run: ExecutionResult) -> str:
    if run.status is RunStatus.OK:
        return "The program ended itself before its tests were done."
    return f"It did not finish: {run.reason}"


def refused_report(run: ExecutionResult) -> TestReport:
    """Return the report of tests that were not run at all."""
    return TestReport(run, (TestCase("tests", "error", run.reason),), 0, 1, all_passed=False)
