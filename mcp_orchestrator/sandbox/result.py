"""What the sandbox answers."""

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from mcp_orchestrator.sandbox.artifacts import Artifact
from mcp_orchestrator.sandbox.risk import RiskReport

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunStatus(StrEnum):
    """How a run ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    TOO_MANY_PROCESSES = "too_many_processes"
    DISK_FULL = "disk_full"
    FORBIDDEN_SYSCALL = "forbidden_syscall"
    KILLED = "killed"
    REFUSED = "refused"


@dataclass(frozen=True)
class ExecutionResult:
    """The outcome of one run.

    Attributes:
        run_id: the run's id; its row is in the database before the caller sees it.
        status: how it ended.
        exit_code: the program's own exit code; None when a signal or a limit ended it.
        stdout: head and tail of what it wrote; likewise ``stderr``.
        stdout_truncated: True when the middle was left out; likewise ``stderr_truncated``.
        duration_seconds: from handing over the code to the outcome.
        cpu_seconds: processor time of all its processes, where it could be measured.
        peak_memory_bytes: the most memory it held, where it could be measured.
        backend: ``bubblewrap`` or ``docker``; ``none`` when it was refused.
        layers: the isolation that really held, as seen from inside and from the limits set.
        reason: why it ended, in words.
        risk: the static risk report.
        artifacts: the files that it made or changed in its folder.
        artifacts_omitted: files that were left out, by path, each with the reason.
    """

    run_id: str
    status: RunStatus
    exit_code: int | None
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    duration_seconds: float
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    backend: str
    layers: tuple[str, ...]
    reason: str
    risk: RiskReport
    artifacts: tuple[Artifact, ...] = ()
    artifacts_omitted: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Frame:
    """One level of a traceback inside the given code or its tests.

    Attributes:
        function: the function's name.
        line: its line in the code or the tests.
        source: the text of that line.
        locals: short representations of its local values.
        file: the file's name.
    """

    function: str
    line: int
    source: str
    locals: "Mapping[str, str]" = field(default_factory=lambda: MappingProxyType({}))
    file: str = ""


Outcome = Literal["passed", "failed", "error", "skipped"]


@dataclass(frozen=True)
class TestCase:
    """One test and what became of it.

    Attributes:
        name: the test's name, or ``line 12`` for a bare assertion.
        outcome: passed, failed (an assertion), error (any other exception) or skipped.
        message: the assertion with expected and actual values, or the exception.
        frames: the last frames of the traceback, innermost last.
        duration_seconds: how long it took.
    """

    __test__ = False

    name: str
    outcome: Outcome
    message: str = ""
    frames: tuple[Frame, ...] = ()
    duration_seconds: float = 0.0


@dataclass(frozen=True)
class Coverage:
    """How much of the given program its tests reached.

    Attributes:
        statements: how many statements it has.
        missing: the lines of those that were not run.
    """

    statements: int
    missing: tuple[int, ...]

    @property
    def percent(self) -> float:
        """Statements that were run, of a hundred; all of a program that has none."""
        if self.statements == 0:
            return 100.0
        return round(100 * (self.statements - len(self.missing)) / self.statements, 1)


@dataclass(frozen=True)
class TestReport:
    """What became of every test of a request.

    Attributes:
        run: the run that carried them out.
        cases: one for each test, in order.
        passed: how many passed.
        failed: how many failed or ended in an error.
        all_passed: True when the tests ended, at least one passed and none failed.
        coverage: what of the program was reached; None when it was not asked for, when the
            sandbox has no coverage package, or when the tests did not end.
    """

    __test__ = False

    run: ExecutionResult
    cases: tuple[TestCase, ...]
    passed: int
    failed: int
    all_passed: bool
    coverage: Coverage | None = None


@dataclass(frozen=True)
class SandboxStatus:
    """What a sandbox is made of, measured from inside.

    Attributes:
        backend: ``bubblewrap`` or ``docker``.
        version: the version of bwrap or of the engine.
        layers: the isolation that really held.
        interpreter: the Python version inside.
        profiles: what can be asked for to import inside.
    """

    backend: str
    version: str
    layers: tuple[str, ...]
    interpreter: str
    profiles: tuple[str, ...] = ()
