"""Tools of the sandbox: running code that nobody has read."""

from typing import Annotated

from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from mcp_orchestrator.runtime import Runtime
from mcp_orchestrator.sandbox import (
    ExecutionRequest,
    ExecutionResult,
    Limits,
    RunStatus,
    TestReport,
    TestRequest,
)
from mcp_orchestrator.server.teaching import teaching

LARGEST_CODE = 200_000

Code = Annotated[str, Field(max_length=LARGEST_CODE)]
TimeoutSeconds = Annotated[float, Field(gt=0, le=50, description="Wall time, in seconds.")]
MemoryMegabytes = Annotated[int, Field(ge=16, le=4096, description="Memory, in MiB.")]


class RunView(BaseModel):
    """One run as a client sees it."""

    run_id: str
    status: RunStatus
    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool = Field(description="Whether the middle of an output was cut out.")
    reason: str = Field(description="Why it ended, in words.")
    duration_seconds: float
    peak_memory_bytes: int | None
    backend: str
    layers: list[str] = Field(description="The isolation that really held.")
    risk_score: float = Field(description="0 to 100, of the code as it is written.")
    risk_findings: list[str]


class TestView(BaseModel):
    """One test and what became of it."""

    name: str
    outcome: str
    message: str
    frames: list[str] = Field(description="Last frames of the failure, with local values.")


class TestRunView(BaseModel):
    """A test run as a client sees it."""

    all_passed: bool
    passed: int
    failed: int
    tests: list[TestView]
    run: RunView


def view_run(result: ExecutionResult) -> RunView:
    """Show a run to a client."""
    return RunView(
        run_id=result.run_id,
        status=result.status,
        exit_code=result.exit_code,
        stdout=result.stdout,
        stderr=result.stderr,
        truncated=result.stdout_truncated or result.stderr_truncated,
        reason=result.reason,
        duration_seconds=result.duration_seconds,
        peak_memory_bytes=result.peak_memory_bytes,
        backend=result.backend,
        layers=list(result.layers),
        risk_score=result.risk.score,
        risk_findings=[
            f"line {finding.line}: {finding.message} ({finding.rule})"
            for finding in result.risk.findings
        ],
    )


def view_tests(report: TestReport) -> TestRunView:
    """Show a test run to a client."""
    return TestRunView(
        all_passed=report.all_passed,
        passed=report.passed,
        failed=report.failed,
        tests=[
            TestView(
                name=case.name,
                outcome=case.outcome,
                message=case.message,
                frames=[
                    f"{frame.function}:{frame.line} {frame.source.strip()} "
                    + ", ".join(f"{name}={value}" for name, value in frame.locals.items())
                    for frame in case.frames
                ],
            )
            for case in report.cases
        ],
        run=view_run(report.run),
    )


def register(server: MCPServer[None], runtime: Runtime) -> None:
    """Add the tools to a server."""
    harmless = ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
    )

    @server.tool(title="Run Python in the sandbox", annotations=harmless)
    @teaching
    async def sandbox_execute(
        code: Annotated[Code, Field(description="A Python program; print what you want to see.")],
        stdin: Annotated[Code, Field(description="Its standard input.")] = "",
        files: Annotated[
            dict[str, str], Field(description="Text files put beside it, by relative path.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        timeout_seconds: TimeoutSeconds = 10,
        memory_megabytes: MemoryMegabytes = 256,
    ) -> RunView:
        """Run untrusted Python without network, files or privileges, under limits.

        An error of the program is a normal answer (status, exit code, stderr). To judge a
        program by tests use sandbox_run_tests; to run it later, queue_add_task.
        """
        limits = Limits(wall_seconds=timeout_seconds, memory_bytes=memory_megabytes << 20)
        request = ExecutionRequest(code=code, stdin=stdin, files=dict(files), limits=limits)
        return view_run(await runtime.sandbox.run(request))

    @server.tool(title="Test Python in the sandbox", annotations=harmless)
    @teaching
    async def sandbox_run_tests(
        code: Annotated[Code, Field(description="The program; tests import it as `solution`.")],
        tests: Annotated[
            Code,
            Field(description="`assert` lines, pytest functions or unittest classes."),
        ],
        timeout_seconds: TimeoutSeconds = 20,
        memory_megabytes: MemoryMegabytes = 256,
    ) -> TestRunView:
        """Run tests against a program and see each test's outcome.

        A failure comes with the assertion, expected and actual values, and the last frames with
        their local variables.
        """
        limits = Limits(wall_seconds=timeout_seconds, memory_bytes=memory_megabytes << 20)
        report = await runtime.sandbox.run_tests(TestRequest(code=code, tests=tests, limits=limits))
        return view_tests(report)
