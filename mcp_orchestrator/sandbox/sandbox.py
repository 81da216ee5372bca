"""The sandbox as the rest of the program knows it: requests in, results out."""

import logging
import secrets
from dataclasses import replace
from datetime import timedelta

import anyio

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import BackendUnavailableError
from mcp_orchestrator.sandbox import layers, policy, testing
from mcp_orchestrator.sandbox.conversation import OutputListener, Transcript, converse
from mcp_orchestrator.sandbox.job import (
    Job,
    check_language,
    guest_request,
    new_run_id,
    program_job,
    refused,
    result_of,
)
from mcp_orchestrator.sandbox.metrics import SandboxMetrics
from mcp_orchestrator.sandbox.policy import Decision, RiskPolicy
from mcp_orchestrator.sandbox.pools import WarmPools
from mcp_orchestrator.sandbox.port import Backend
from mcp_orchestrator.sandbox.profiles import PLAIN
from mcp_orchestrator.sandbox.recording import files_of, record_of, span_attributes
from mcp_orchestrator.sandbox.request import (
    ExecutionRequest,
    Limits,
    TestRequest,
    check_limits,
    check_request,
    check_test_request,
)
from mcp_orchestrator.sandbox.result import ExecutionResult, SandboxStatus, TestReport
from mcp_orchestrator.sandbox.risk import assess
from mcp_orchestrator.sandbox.sessions import Sessions, SessionView
from mcp_orchestrator.store.runs import RunStore
from mcp_orchestrator.telemetry.correlation import correlated
from mcp_orchestrator.telemetry.tracing import Tracing

#: How often idle sessions and idle workers are looked for, in seconds.
_TENDING_SECONDS = 15.0
_TURNS_OF_AN_HOUR = 240
_log = logging.getLogger(__name__)


class Sandbox:
    """Runs code that nobody has read, behind walls that were seen to stand.

    Args:
        backend: who isolates.
        clock: for deadlines and times.
        risk_policy: what the risk score decides.
        warm: how many workers wait for the default limits.
        concurrency: how many runs go on at the same time; more of them wait their turn.
        runs: where every run is recorded; None records nothing.
        sessions: how many sessions may be open at a time.
        session_idle_seconds: after how long without a run a session is closed.
        metrics: what is counted for Prometheus.
        keep_files: how long what runs left behind is kept.
        tracing: records runs; nothing does if left out.
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
        sessions: int = 8,
        session_idle_seconds: float = 600.0,
        metrics: SandboxMetrics | None = None,
        keep_files: timedelta = timedelta(days=7),
        tracing: Tracing | None = None,
    ) -> None:
        self._backend = backend
        self._keep_files = keep_files
        self._clock = clock
        self._risk_policy = risk_policy
        self._runs = runs
        self._turns = anyio.Semaphore(concurrency)
        self._metrics = metrics
        self._tracing = tracing or Tracing()
        self._pools = WarmPools(backend, Limits(), warm, clock, metrics=metrics)
        self._sessions = Sessions(
            self._pools, clock, backend.name, most=sessions, idle_seconds=session_idle_seconds
        )
        if metrics is not None:
            metrics.watch(lambda: len(self._pools), lambda: len(self._sessions))

    @property
    def backend_name(self) -> str:
        """``bubblewrap`` or ``docker``."""
        return self._backend.name

    @property
    def risk_policy(self) -> RiskPolicy:
        """What the risk score decides."""
        return self._risk_policy

    @property
    def pool(self) -> WarmPools:
        """The warm workers."""
        return self._pools

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of what can be asked for to import inside."""
        return self._backend.profiles.names

    async def run(
        self,
        request: ExecutionRequest,
        *,
        session_id: str | None = None,
        listener: OutputListener | None = None,
    ) -> ExecutionResult:
        """Run one program.

        Cancelling the caller kills the program and everything it started.

        Args:
            request: what to run.
            session_id: a session of the same owner, in which it runs.
            listener: is told of output while it comes.

        Raises:
            NotFoundError: there is no such session, or it is somebody else's.
            InvalidInputError: the request cannot be run as it stands; nothing was started.
            LimitExceededError: code or files over their size; nothing was started.
            SandboxUnavailableError: no isolation can be had; nothing was run.
        """
        check_request(request)
        risk = assess(request.code, request.language)
        if session_id is not None:
            self._sessions.view(session_id, request.owner)
        job = program_job(request, risk, session_id)
        result, _ = await self._carry_out(job, listener)
        return result

    async def run_tests(self, request: TestRequest) -> TestReport:
        """Run tests against a program; raises as ``run`` does."""
        check_test_request(request)
        execution = testing.as_execution(request)
        nonce = secrets.token_hex(16)
        job = Job(
            new_run_id(),
            execution,
            assess(request.code),
            testing.name_of_tests(request),
            testing.guest_settings(request, nonce),
        )
        result, transcript = await self._carry_out(job, None)
        if transcript is None:
            return testing.refused_report(result)
        return testing.read_report(bytes(transcript.report), nonce, result)

    async def open_session(
        self, limits: Limits | None = None, *, owner: str | None = None, profile: str = PLAIN
    ) -> SessionView:
        """Open a sandbox that keeps variables and files between the runs of one owner.

        Args:
            limits: what all runs together may use; wall time and output count for each run.
            owner: who alone can use it.
            profile: what there is to import inside.

        Raises:
            InvalidInputError: there is no such profile.
            LimitExceededError: there are as many as there may be.
            SandboxUnavailableError: no isolation can be had.
        """
        chosen = limits or Limits()
        check_limits(chosen)
        return await self._sessions.open(chosen, owner, profile)

    def session(self, session_id: str, *, owner: str | None = None) -> SessionView:
        """Return an open session of this owner; raises NotFoundError."""
        return self._sessions.view(session_id, owner)

    async def close_session(self, session_id: str, *, owner: str | None = None) -> None:
        """Kill a session with everything in it; raises NotFoundError."""
        await self._sessions.close(session_id, owner)

    async def tend(self) -> None:
        """Close idle sessions, let idle workers go and forget old files, until cancelled."""
        while True:
            await self._forget_old_files()
            for _ in range(_TURNS_OF_AN_HOUR):
                await self._clock.sleep(_TENDING_SECONDS)
                await self._sessions.close_idle()
                await self._pools.shrink()

    async def _forget_old_files(self) -> None:
        if self._runs is None:
            return
        try:
            await self._runs.forget_files(self._clock.now() - self._keep_files)
        except BackendUnavailableError:
            _log.warning("Old files of runs could not be deleted; trying again in an hour.")

    async def check(self) -> SandboxStatus:
        """Start a worker and say what its walls are.

        Raises:
            SandboxUnavailableError: none can be started.
        """
        worker = await self._pools.take(Limits())
        try:
            return SandboxStatus(
                backend=self._backend.name,
                version=self._backend.version,
                layers=layers.held(worker.facts, worker.limits_held),
                interpreter=worker.facts.python,
                profiles=self.profiles,
            )
        finally:
            await worker.close()
            self._pools.refill()

    async def close(self) -> None:
        """Kill everything and leave nothing behind."""
        await self._sessions.close_all()
        await self._pools.close()
        await self._backend.close()

    async def _carry_out(
        self, job: Job, listener: OutputListener | None
    ) -> tuple[ExecutionResult, Transcript | None]:
        with (
            correlated(run_id=job.run_id, principal=job.request.owner),
            self._tracing.span("sandbox run", span_attributes(job)) as span,
        ):
            result, transcript = await self._run_recorded(job, listener)
            span.set_attributes({"sandbox.status": result.status.value})
            return result, transcript

    async def _run_recorded(
        self, job: Job, listener: OutputListener | None
    ) -> tuple[ExecutionResult, Transcript | None]:
        request = job.request
        decision = self._risk_policy.decide(job.risk, allow_risky=request.allow_risky)
        started = self._clock.now()
        transcript: Transcript | None = None
        if decision is Decision.REFUSE:
            result = refused(job, policy.refusal(job.risk, self._risk_policy))
        else:
            if decision is Decision.RUN_STRICTLY:
                request = replace(request, limits=policy.tightened(request.limits))
                job = replace(job, request=request)
            async with self._turns:
                if job.session_id is None:
                    result, transcript = await self._run_on_worker(job, listener)
                else:
                    result, transcript = await self._sessions.run(job, job.session_id, listener)
        if self._metrics is not None:
            self._metrics.ended(result)
        if self._runs is not None:
            row = record_of(job, result, started, self._clock.now())
            await self._runs.add(row, files_of(result, transcript))
        return result, transcript

    async def _run_on_worker(
        self, job: Job, listener: OutputListener | None
    ) -> tuple[ExecutionResult, Transcript]:
        limits = job.request.limits
        began = self._clock.monotonic()
        worker = await self._pools.take(limits, job.request.profile)
        try:
            check_language(job.request, worker)
            transcript = await converse(
                worker,
                guest_request(job, worker.resource_limits(limits)),
                wall_seconds=limits.wall_seconds,
                output_bytes=limits.output_bytes,
                whole_bytes=job.whole_bytes,
                clock=self._clock,
                listener=listener,
            )
            usage = await worker.usage(reported=transcript.outcome is not None)
            if transcript.outcome is not None:
                usage = usage.or_else(transcript.outcome.usage())
            duration = self._clock.monotonic() - began
            result = result_of(
                job, worker, transcript, usage, duration=duration, backend=self._backend.name
            )
        finally:  # after the result: what is started and removed now competes for the processors
            with anyio.CancelScope(shield=True):
                await worker.close()
                self._pools.refill(job.request.profile)
        return result, transcript
