"""From a run to the row that remembers it."""

import hashlib
from dataclasses import asdict
from datetime import datetime

from mcp_orchestrator.sandbox.request import ExecutionRequest
from mcp_orchestrator.sandbox.result import ExecutionResult
from mcp_orchestrator.store.runs import RunRecord


def record_of(
    request: ExecutionRequest,
    result: ExecutionResult,
    kind: str,
    started_at: datetime,
    finished_at: datetime,
) -> RunRecord:
    """Return the row of a run.

    Args:
        request: what was asked, with the limits that were applied.
        result: what came of it.
        kind: ``"program"`` or ``"tests"``.
        started_at: when it was asked.
        finished_at: when it had ended.
    """
    return RunRecord(
        run_id=result.run_id,
        kind=kind,
        language=request.language,
        code_hash=hashlib.sha256(request.code.encode("utf-8", "surrogatepass")).hexdigest(),
        files_hash=_hash_of_files(request),
        status=result.status.value,
        reason=result.reason,
        exit_code=result.exit_code,
        stdout=result.stdout.encode(),
        stderr=result.stderr.encode(),
        risk_score=result.risk.score,
        risk_findings=[asdict(finding) for finding in result.risk.findings],
        backend=result.backend,
        layers=list(result.layers),
        limits=asdict(request.limits),
        duration_seconds=result.duration_seconds,
        cpu_seconds=result.cpu_seconds,
        peak_memory_bytes=result.peak_memory_bytes,
        owner=request.owner,
        saga_id=request.saga_id,
        task_id=request.task_id,
        started_at=started_at,
        finished_at=finished_at,
    )


def _hash_of_files(request: ExecutionRequest) -> str | None:
    if not request.files:
        return None
    total = hashlib.sha256()
    for name, content in sorted(request.files.items()):
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(data).digest())
    return total.hexdigest()
