"""From a run to the row that remembers it."""

import hashlib
from dataclasses import asdict
from datetime import datetime

from mcp_orchestrator.sandbox.conversation import Transcript
from mcp_orchestrator.sandbox.job import Job
from mcp_orchestrator.sandbox.request import ExecutionRequest
from mcp_orchestrator.sandbox.result import ExecutionResult
from mcp_orchestrator.store.canonical import clean_text
from mcp_orchestrator.store.run_files import RunFile
from mcp_orchestrator.store.runs import RunRecord


def record_of(
    job: Job, result: ExecutionResult, started_at: datetime, finished_at: datetime
) -> RunRecord:
    """Return the row of a run.

    Args:
        job: what was asked, with the limits that were applied.
        result: what came of it.
        started_at: when it was asked.
        finished_at: when it had ended.
    """
    request = job.request
    return RunRecord(
        run_id=result.run_id,
        kind="program" if job.tests is None else "tests",
        language=request.language,
        code_hash=hashlib.sha256(request.code.encode("utf-8", "surrogatepass")).hexdigest(),
        files_hash=_hash_of_files(request),
        status=result.status.value,
        reason=clean_text(result.reason),
        exit_code=result.exit_code,
        stdout=result.stdout.encode(),
        stderr=result.stderr.encode(),
        risk_score=result.risk.score,
        risk_findings=[
            {**asdict(finding), "message": clean_text(finding.message)}
            for finding in result.risk.findings
        ],
        backend=result.backend,
        layers=list(result.layers),
        limits={**asdict(request.limits), "profile": request.profile},
        duration_seconds=result.duration_seconds,
        cpu_seconds=result.cpu_seconds,
        peak_memory_bytes=result.peak_memory_bytes,
        owner=request.owner,
        saga_id=request.saga_id,
        task_id=request.task_id,
        started_at=started_at,
        finished_at=finished_at,
        session_id=job.session_id,
        artifacts=[
            {"path": each.path, "size_bytes": each.size_bytes, "sha256": each.sha256}
            for each in result.artifacts
        ],
    )


def span_attributes(job: Job) -> dict[str, str | None]:
    """Return what the trace of a run says it is."""
    request = job.request
    return {
        "sandbox.run_id": job.run_id,
        "sandbox.kind": "program" if job.tests is None else "tests",
        "sandbox.profile": request.profile,
        "saga.id": request.saga_id,
        "task.id": request.task_id,
        "enduser.id": request.owner,
    }


def files_of(result: ExecutionResult, transcript: Transcript | None) -> list[RunFile]:
    """Return what is kept beside the row: artifacts, and outputs that are not shown whole."""
    kept = [
        RunFile("artifact", each.path, each.media_type, each.content) for each in result.artifacts
    ]
    if transcript is not None:
        if result.stdout_truncated:
            kept.append(RunFile("output", "stdout", "text/plain", transcript.whole(errors=False)))
        if result.stderr_truncated:
            kept.append(RunFile("output", "stderr", "text/plain", transcript.whole(errors=True)))
    return kept


def _hash_of_files(request: ExecutionRequest) -> str | None:
    if not request.files:
        return None
    total = hashlib.sha256()
    for name, content in sorted(request.files.items()):
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(data).digest())
    return total.hexdigest()
