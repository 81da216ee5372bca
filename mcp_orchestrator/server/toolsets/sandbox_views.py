"""What clients see of the sandbox's runs, scores and sessions."""

import base64
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from pydantic import BaseModel, Field

from mcp_orchestrator.sandbox import (
    Artifact,
    Coverage,
    ExecutionResult,
    RiskReport,
    RunStatus,
    TestReport,
)

#: Images up to this size are put into the answer, the first few of them.
_LARGEST_IMAGE = 1 << 20
_MOST_IMAGES = 4


class ArtifactView(BaseModel):
    """A file that a program made."""

    path: str
    resource: str = Field(description="Where it can be read.")
    media_type: str
    size_bytes: int


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
    resource: str = Field(description="Where the whole run can be read.")
    stdout_resource: str | None = Field(description="Where all of stdout is, when it was cut.")
    artifacts: list[ArtifactView] = Field(description="Files that the program made or changed.")
    artifacts_omitted: list[str] = Field(description="Files left out, and why.")


class RiskView(BaseModel):
    """What is suspicious about a program, before it runs."""

    score: int = Field(description="0 to 100, from both axes.")
    capability: int = Field(description="0 to 100: what it reaches for.")
    opacity: int = Field(description="0 to 100: what it hides.")
    decision: Literal["run", "run_strictly", "refuse"] = Field(
        description="What sandbox_execute would do with it."
    )
    findings: list[str]


class OpenSessionView(BaseModel):
    """A sandbox that keeps its state between runs."""

    session_id: str
    idle_until: datetime = Field(description="When it is closed unless it is used before.")
    next: str = Field(description="What to do now.")


class ClosedSessionView(BaseModel):
    """A session that is no more."""

    session_id: str
    closed: bool


class TestView(BaseModel):
    """One test and what became of it."""

    name: str
    outcome: str
    duration_seconds: float
    message: str
    frames: list[str] = Field(description="Last frames of the failure, with local values.")


class CoverageView(BaseModel):
    """How much of the program its tests reached."""

    percent: float = Field(description="Statements that were run, of a hundred.")
    statements: int
    missing_lines: list[int]


class TestRunView(BaseModel):
    """A test run as a client sees it."""

    all_passed: bool
    passed: int
    failed: int
    tests: list[TestView]
    coverage: CoverageView | None = Field(description="Of the code; null if it was not measured.")
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
        risk_findings=describe_risk(result.risk),
        resource=f"run://{result.run_id}",
        stdout_resource=f"run://{result.run_id}/stdout" if result.stdout_truncated else None,
        artifacts=[
            ArtifactView(
                path=artifact.path,
                resource=_artifact_uri(result.run_id, artifact.path),
                media_type=artifact.media_type,
                size_bytes=artifact.size_bytes,
            )
            for artifact in result.artifacts
        ],
        artifacts_omitted=[f"{path}: {why}" for path, why in result.artifacts_omitted],
    )


def describe_risk(risk: RiskReport) -> list[str]:
    """Say which rules fired where."""
    return [f"line {each.line}: {each.message} ({each.rule})" for each in risk.findings]


def _artifact_uri(run_id: str, path: str) -> str:
    return f"run://{run_id}/artifacts/{quote(path)}"


def answer_of(result: ExecutionResult) -> CallToolResult:
    """Show a run to a client: its view, the images it made, links to its other files."""
    view = view_run(result)
    blocks: list[ContentBlock] = [TextContent(text=view.model_dump_json(indent=2))]
    images = 0
    for artifact in result.artifacts:
        if _is_shown(artifact) and images < _MOST_IMAGES:
            images += 1
            data = base64.b64encode(artifact.content).decode()
            blocks.append(ImageContent(data=data, mime_type=artifact.media_type))
        else:
            uri = _artifact_uri(result.run_id, artifact.path)
            blocks.append(
                ResourceLink(
                    name=artifact.path,
                    uri=uri,
                    mime_type=artifact.media_type,
                    size=artifact.size_bytes,
                )
            )
    return CallToolResult(content=blocks, structured_content=view.model_dump(mode="json"))


def _is_shown(artifact: Artifact) -> bool:
    kinds = {"image/png", "image/jpeg", "image/gif"}
    return artifact.media_type in kinds and artifact.size_bytes <= _LARGEST_IMAGE


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
                duration_seconds=case.duration_seconds,
                message=case.message,
                frames=[
                    f"{frame.function}:{frame.line} {frame.source.strip()} "
                    + ", ".join(f"{name}={value}" for name, value in frame.locals.items())
                    for frame in case.frames
                ],
            )
            for case in report.cases
        ],
        coverage=_view_coverage(report.coverage),
        run=view_run(report.run),
    )


def _view_coverage(coverage: Coverage | None) -> CoverageView | None:
    if coverage is None:
        return None
    return CoverageView(
        percent=coverage.percent,
        statements=coverage.statements,
        missing_lines=list(coverage.missing),
    )
