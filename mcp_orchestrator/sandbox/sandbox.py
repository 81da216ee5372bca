"""The sandbox as the rest of the program knows it: requests in, results out."""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

import anyio

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.sandbox import layers, policy, testing
from mcp_orchestrator.sandbox.conversation import OutputListener, Transcript, converse
from mcp_orchestrator.sandbox.outcome import judge
from mcp_orchestrator.sandbox.policy import Decision, RiskPolicy
from mcp_orchestrator.sandbox.pool import WarmPool
from mcp_orchestrator.sandbox.port import Backend, Usage, Worker
from mcp_orchestrator.sandbox.recording import record_of
from mcp_orchestrator.sandbox.request import (
    LANGUAGES,
    ExecutionRequest,
    Limits,
    TestRequest,
    check_request,
    check_test_request,
)
from mcp_orchestrator.sandbox.result import (
    ExecutionResult,
    RunStatus,
    SandboxStatus,
    TestReport,
)
from mcp_orchestrator.sandbox.risk import RiskReport, assess
from mcp_orchestrator.store.runs import RunStore

_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/box",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp/matplotlib",
}


@dataclass(frozen=True)
class _Job:
    """One request on its way through the sandbox."""

    run_id: str
    request: ExecutionRequest
    risk: RiskReport
    main: str
    tests: Mapping[str, str] | None = None


class Sandbox:
    """Runs code that nobody has read, behind walls that were seen to stand.

    Args:
        backend: who isolates.
        clock: for deadlines and times.
        risk_policy: what the risk score decides.
        warm: how many workers wait for the default limits.
        concurrency: how many runs go on at the same time; more of them wait their turn.
        runs: where every run is recorded; None records nothing.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Clock,
        risk_policy: RiskPolicy,
        warm: int = 2,
        concurrency: int = 8,
        runs: RunStore | None = None,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._risk_policy = risk_policy
        self._runs = runs
        self._turns = anyio.Semaphore(concurrency)
        self._pool = WarmPool(backend, Limits(), warm, clock)

    @property
    def backend_name(self) -> str:
        """``bubblewrap`` or ``docker``."""
        return self._backend.name

    @property
    def pool(self) -> WarmPool:
        """The warm workers."""
        return self._pool

    async def run(
        self, request: ExecutionRequest, *, listener: OutputListener | None = None
    ) -> ExecutionResult:
        """Run one program.

        Cancelling the caller kills the program and everything it started.

        Args:
            request: what to run.
            listener: is told of output while it comes.

        Raises:
            InvalidInputError: the request cannot be run as it stands; nothing was started.
            LimitExceededError: code or files over their size; nothing was started.
            SandboxUnavailableError: no isolation can be had; nothing was run.
        """
        check_request(request)
        risk = assess(request.code, request.language)
        job = _Job(_new_run_id(), request, risk, LANGUAGES[request.language])
        result, _ = await self._carry_out(job, listener)
        return result

    async def run_tests(self, request: TestRequest) -> TestReport:
        """Run tests against a program; raises as ``run`` does."""
        check_test_request(request)
        execution = testing.as_execution(request)
        nonce = secrets.token_hex(16)
        job = _Job(
            _new_run_id(),
            execution,
            assess(request.code),
            testing.name_of_tests(request),
            testing.guest_settings(request, nonce),
        )
        result, transcript = await self._carry_out(job, None)
        if transcript is None:
            return testing.refused_report(result)
        return testing.read_report(bytes(transcript.report), nonce, result)

    async def check(self) -> SandboxStatus:
        """Start a worker and say what its walls are.

        Raises:
            SandboxUnavailableError: none can be started.
        """
        worker = await self._pool.take(Limits())
        try:
            return SandboxStatus(
                backend=self._backend.name,
                version=self._backend.version,
                layers=layers.held(worker.facts, worker.limits_held),
                interpreter=worker.facts.python,
            )
        finally:
            await worker.close()
            self._pool.refill()

    async def close(self) -> None:
        """Kill everything and leave nothing behind."""
        await self._pool.close()
        await self._backend.close()

    async def _carry_out(
        self, job: _Job, listener: OutputListener | None
    ) -> tuple[ExecutionResult, Transcript | None]:
        request = job.request
        decision = self._risk_policy.decide(job.risk, allow_risky=request.allow_risky)
        started = self._clock.now()
        transcript: Transcript | None = None
        if decision is Decision.REFUSE:
            result = _refused(job.run_id, job.risk, policy.refusal(job.risk, self._risk_policy))
        else:
            if decision is Decision.RUN_STRICTLY:
                request = replace(request, limits=policy.tightened(request.limits))
                job = replace(job, request=request)
            async with self._turns:
                result, transcript = await self._run_on_worker(job, listener)
        if self._runs is not None:
            kind = "program" if job.tests is None else "tests"
            row = record_of(job.request, result, kind, started, self._clock.now())
            await self._runs.add(row)
        return result, transcript

    async def _run_on_worker(
        self, job: _Job, listener: OutputListener | None
    ) -> tuple[ExecutionResult, Transcript]:
        limits = job.request.limits
        began = self._clock.monotonic()
        worker = await self._pool.take(limits)
        try:
            _check_language(job.request, worker)
            transcript = await converse(
                worker,
                _guest_request(job, worker.resource_limits(limits)),
                wall_seconds=limits.wall_seconds,
                output_bytes=limits.output_bytes,
                clock=self._clock,
                listener=listener,
            )
            usage = await worker.usage(reported=transcript.outcome is not None)
            if transcript.outcome is not None:
                usage = usage.or_else(transcript.outcome.usage())
        finally:
            with anyio.CancelScope(shield=True):
                await worker.close()
                self._pool.refill()
        duration = self._clock.monotonic() - began
        return self._result(job, worker, transcript, usage, duration), transcript

    def _result(
        self,
        job: _Job,
        worker: Worker,
        transcript: Transcript,
        usage: Usage,
        duration: float,
    ) -> ExecutionResult:
        stdout, stdout_truncated = transcript.output(errors=False)
        stderr, stderr_truncated = transcript.output(errors=True)
        outcome = transcript.outcome
        limits = job.request.limits
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
            backend=self._backend.name,
            layers=layers.held(worker.facts, worker.limits_held),
            reason=ending.reason,
            risk=job.risk,
        )


def _new_run_id() -> str:
    return f"run-{uuid.uuid4().hex}"


def _check_language(request: ExecutionRequest, worker: Worker) -> None:
    known = ("python", *worker.facts.languages)
    if request.language not in known:
        raise InvalidInputError(
            f"This sandbox has no {request.language}.", remedy=f"It has: {', '.join(known)}."
        )


def _guest_request(job: _Job, resource_limits: dict[str, int]) -> dict[str, object]:
    request = job.request
    contents: dict[str, str | bytes] = {**request.files, job.main: request.code}
    message: dict[str, object] = {
        "language": request.language,
        "main": job.main,
        "stdin": _as_bytes(request.stdin),
        "arguments": list(request.arguments),
        "environment": {**_ENVIRONMENT, **request.environment},
        "files": {name: _as_bytes(content) for name, content in contents.items()},
        "wall_seconds": request.limits.wall_seconds,
        "output_bytes": request.limits.output_bytes,
        "resource_limits": resource_limits,
    }
    if job.tests is not None:
        message["tests"] = dict(job.tests)
    return message


def _as_bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content


def _refused(run_id: str, risk: RiskReport, reason: str) -> ExecutionResult:
    return ExecutionResult(
        run_id=run_id,
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
        risk=risk,
    )
