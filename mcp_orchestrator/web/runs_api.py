"""Sandbox runs, health and metrics over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue, TypeAdapter

from mcp_orchestrator.runtime import HealthReport
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.store.runs import RunRecord
from mcp_orchestrator.web.endpoint import Endpoint, endpoint
from mcp_orchestrator.web.queue_api import Nothing

_Values = TypeAdapter(dict[str, JsonValue])
_Lines = TypeAdapter(list[dict[str, JsonValue]])


class AskRuns(BaseModel):
    """How many runs are listed."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50


class AskRun(BaseModel):
    """One run."""

    run_id: str


class RunLine(BaseModel):
    """A run in a list."""

    run_id: str
    kind: str
    status: str
    risk_score: int
    owner: str | None
    saga_id: str | None
    task_id: str | None
    started_at: datetime
    duration_seconds: float


class Runs(BaseModel):
    """Runs, newest first."""

    runs: list[RunLine]


class RunDetail(RunLine):
    """One run: what came of it, behind which walls."""

    reason: str
    exit_code: int | None
    stdout: str
    stderr: str
    risk_findings: list[dict[str, JsonValue]]
    backend: str
    layers: list[str]
    limits: dict[str, JsonValue]
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    artifacts: list[dict[str, JsonValue]]
    finished_at: datetime


def run_endpoints(workspace: Workspace) -> list[Endpoint]:
    """Return the endpoints."""
    runs = workspace.runs

    async def recent(asked: AskRuns) -> Runs:
        return Runs(runs=[_line(record) for record in await runs.recent(asked.limit)])

    async def one(asked: AskRun) -> RunDetail:
        return _detail(await runs.get(asked.run_id))

    async def health(_: Nothing) -> HealthReport:
        return await workspace.health()

    return [
        endpoint("GET", "/runs", "Sandbox runs, newest first.",
                 toolset="sandbox", asks=AskRuns, answers=Runs, handle=recent),
        endpoint("GET", "/runs/{run_id}", "One run: outputs, layers, risk findings, artifacts.",
                 toolset="sandbox", asks=AskRun, answers=RunDetail, handle=one),
        endpoint("GET", "/health", "Ask every part whether it works.",
                 toolset="admin", asks=Nothing, answers=HealthReport, handle=health),
    ]  # fmt: skip


def _line(record: RunRecord) -> RunLine:
    return RunLine(
        run_id=record.run_id,
        kind=record.kind,
        status=record.status,
        risk_score=record.risk_score,
        owner=record.owner,
        saga_id=record.saga_id,
        task_id=record.task_id,
        started_at=record.started_at,
        duration_seconds=record.duration_seconds,
    )


def _detail(record: RunRecord) -> RunDetail:
    return RunDetail(
        **_line(record).model_dump(),
        reason=record.reason,
        exit_code=record.exit_code,
        stdout=record.stdout.decode("utf-8", "replace"),
        stderr=record.stderr.decode("utf-8", "replace"),
        risk_findings=_Lines.validate_python(record.risk_findings),
        backend=record.backend,
        layers=record.layers,
        limits=_Values.validate_python(record.limits),
        cpu_seconds=record.cpu_seconds,
        peak_memory_bytes=record.peak_memory_bytes,
        artifacts=_Lines.validate_python(record.artifacts),
        finished_at=record.finished_at,
    )
