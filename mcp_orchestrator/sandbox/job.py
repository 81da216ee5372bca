"""One request on its way through the sandbox: what the guest is told, and what comes of it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.sandbox import layers
from mcp_orchestrator.sandbox.artifacts import ARTIFACT_LIMITS
from mcp_orchestrator.sandbox.conversation import Transcript
from mcp_orchestrator.sandbox.guest.program import PRELOAD_ENVIRONMENT
from mcp_orchestrator.sandbox.outcome import judge
from mcp_orchestrator.sandbox.port import Usage, Worker
from mcp_orchestrator.sandbox.request import LANGUAGES, MEBIBYTE, ExecutionRequest
from mcp_orchestrator.sandbox.result import ExecutionResult, RunStatus
from mcp_orchestrator.sandbox.risk import RiskReport

#: What is kept of each output beside what is shown of it.
WHOLE_OUTPUT_BYTES: Final = 4 * MEBIBYTE

_ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/box",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    **PRELOAD_ENVIRONMENT,
}


@dataclass(frozen=True)
class Job:
    """One request with what was found out about it before it runs.

    Attributes:
        run_id: the run's id.
        request: what was asked, with the limits that are applied.
        risk: the static risk report.
        main: the file that the code is put in.
        tests: what the guest's test runner is told, if tests are run.
        session_id: the session in which it runs, if any.
    """

    run_id: str
    request: ExecutionRequest
    risk: RiskReport
    main: str
    tests: Mapping[str, str] | None = None
    session_id: str | None = None

    @property
    def whole_bytes(self) -> int:
        """How much of each output is kept."""
        return max(WHOLE_OUTPUT_BYTES, self.request.limits.output_bytes)


def new_run_id() -> str:
    """Return an id that nobody guesses."""
    return f"run-{uuid.uuid4().hex}"


def program_job(request: ExecutionRequest, risk: RiskReport, session_id: str | None = None) -> Job:
    """Return the job of running one program."""
    return Job(new_run_id(), request, risk, LANGUAGES[request.language], None, session_id)


def check_language(request: ExecutionRequest, worker: Worker) -> None:
    """Refuse a language that is not there; raises InvalidInputError."""
    known = ("python", *worker.facts.languages)
    if request.language not in known:
        raise InvalidInputError(
            f"This sandbox has no {request.language}.", remedy=f"It has: {', '.join(known)}."
        )


def guest_request(job: Job, resource_limits: Mapping[str, int]) -> dict[str, object]:
    """Return what the guest's supervisor is told."""
    request = job.request
    message: dict[str, object] = {
        "language": request.language,
        "main": job.main,
        "stdin": _as_bytes(request.stdin),
        "arguments": list(request.arguments),
        "environment": {**_ENVIRONMENT, **request.environment},
        "wall_seconds": request.limits.wall_seconds,
        "output_bytes": request.limits.output_bytes,
        "whole_bytes": job.whole_bytes - request.limits.output_bytes // 2,
        "resource_limits": dict(resource_limits),
    }
    contents: dict[str, str | bytes] = dict(request.files)
    if job.session_id is not None:
        message |= {"session": True, "code": _as_bytes(request.code)}
    else:
        contents[job.main] = request.code
    message["files"] = {name: _as_bytes(content) for name, content in contents.items()}
    if job.tests is not None:
        message["tests"] = dict(job.tests)
    else:
        message["artifacts"] = dict(ARTIFACT_LIMITS)
    return message


def result_of(
    job: Job,
    worker: Worker,
    transcript: Transcript,
    usage: Usage,
    *,
    duration: float,
    backend: str,
) -> ExecutionResult:
    """Return the result of a run from everything that was seen of it."""
    limits = job.request.limits
    stdout, stdout_truncated = transcript.output(limits.output_bytes, errors=False)
    stderr, stderr_truncated = transcript.output(limits.output_bytes, errors=True)
    outcome = transcript.outcome
    ending = judge(outcome, usage, limits, stderr, overdue=transcript.overdue)
    peak = usage.peak_memory_bytes
    if peak is None and outcome is not None:
        peak = outcome.largest_process_bytes
    return ExecutionResult(
        run_id=job.run_id,
        status=ending.status,
        exit_code=outcome.exit_code if outcome is not None else None,
        stdout=stdout,
        stderr=stderr,
        stdout_truncated=stdout_truncated,
        stderr_truncated=stderr_truncated,
        duration_seconds=duration,
        cpu_seconds=outcome.cpu_seconds if outcome is not None else None,
        peak_memory_bytes=peak,
        backend=backend,
        layers=layers.held(worker.facts, worker.limits_held),
        reason=ending.reason,
        risk=job.risk,
        artifacts=transcript.intake.artifacts(),
        artifacts_omitted=outcome.artifacts_omitted if outcome is not None else (),
    )


def refused(job: Job, reason: str) -> ExecutionResult:
    """Return the result of a run that was not begun."""
    return ExecutionResult(
        run_id=job.run_id,
        status=RunStatus.REFUSED,
        exit_code=None,
        stdout="",
        stderr="",
        stdout_truncated=False,
        stderr_truncated=False,
        duration_seconds=0.0,
        cpu_seconds=None,
        peak_memory_bytes=None,
        backend="none",
        layers=(),
        reason=reason,
        risk=job.risk,
    )


def _as_bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
