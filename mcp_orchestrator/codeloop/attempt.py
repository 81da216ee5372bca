"""One program that was proposed, and what its tests said (pure)."""

import ast
import hashlib
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mcp_orchestrator.sandbox import TestReport

Origin = Literal["given", "candidate", "repair", "fresh start", "small change"]


class Failure(BaseModel):
    """One test that did not pass: what it expected, and where the program stood."""

    model_config = ConfigDict(frozen=True)

    test: str
    outcome: str
    message: str
    frames: list[str] = []

    @property
    def headline(self) -> str:
        """Return the assertion and what came instead, in one line."""
        lines = self.message.splitlines() or [self.outcome]
        actual = next((line for line in lines[1:] if line.startswith("actual: ")), "")
        return lines[0][:120] + (f" ({actual[:80]})" if actual else "")


class Attempt(BaseModel):
    """A candidate and its test run.

    ``mended`` says what was put right without asking a model. ``agreeing_tests`` are tests that a
    model wrote and that it passes; they only choose among programs that pass all of the user's.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    origin: Origin
    parent: int | None = None
    code: str
    passed: int
    failed: int
    all_passed: bool
    passing_tests: list[str] = []
    agreeing_tests: list[str] = []
    mended: list[str] = []
    failures: list[Failure] = []
    status: str
    reason: str = ""
    run_id: str
    risk_score: float = 0
    risk_rules: list[str] = []

    @property
    def fingerprint(self) -> str:
        """Identify how it failed, whatever the line numbers and addresses: equal means stuck."""
        shape = [self.status] + [f"{failure.test}:{failure.headline}" for failure in self.failures]
        return hashlib.sha256("\n".join(shape).encode()).hexdigest()[:16]

    @property
    def summary(self) -> str:
        """Say in one line how it went."""
        total = self.passed + self.failed
        mended = f" after mending it ({'; '.join(self.mended)})" if self.mended else ""
        if self.all_passed:
            return f"passed all {total} tests{mended}"
        if total == 0:
            return f"no test ran ({self.status}: {self.reason or 'no result'})"
        first = self.failures[0] if self.failures else None
        detail = f"; {first.test}: {first.headline}" if first else ""
        return f"passed {self.passed} of {total}{mended}{detail}"


def read_attempt(
    number: int, origin: Origin, code: str, report: TestReport, *, parent: int | None = None
) -> Attempt:
    """Turn a test report into an attempt."""
    failures = [
        Failure(
            test=case.name,
            outcome=case.outcome,
            message=case.message[:2000],
            frames=[_describe_frame(frame.function, frame.line, frame.source, frame.locals)
                    for frame in case.frames[-3:]],
        )
        for case in report.cases
        if case.outcome in ("failed", "error")
    ]  # fmt: skip
    return Attempt(
        number=number,
        origin=origin,
        parent=parent,
        code=code,
        passed=report.passed,
        failed=report.failed,
        all_passed=report.all_passed,
        passing_tests=[case.name for case in report.cases if case.outcome == "passed"],
        failures=failures,
        status=report.run.status.value,
        reason=_reason(report),
        run_id=report.run.run_id,
        risk_score=report.run.risk.score,
        risk_rules=list(report.run.risk.rules),
    )


def same_program(one: Attempt, other: Attempt) -> bool:
    """Tell whether two attempts differ in their layout and comments at the most."""
    try:
        return ast.dump(ast.parse(one.code)) == ast.dump(ast.parse(other.code))
    except (SyntaxError, ValueError):
        return one.code == other.code


def untested_attempt(
    number: int, origin: Origin, code: str, reason: str, *, parent: int | None = None
) -> Attempt:
    """Make the attempt of a reply that was not worth a run."""
    return Attempt(
        number=number, origin=origin, parent=parent, code=code, passed=0, failed=0,
        all_passed=False, status="not run", reason=reason, run_id="",
    )  # fmt: skip


def _describe_frame(function: str, line: int, source: str, values: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"in {function}, line {line}: {source.strip()}" + (f"   ({shown})" if shown else "")


def _reason(report: TestReport) -> str:
    if report.cases:
        return report.run.reason
    last_line = report.run.stderr.strip().splitlines()[-1:] or [""]
    return report.run.reason or last_line[0][:300]
