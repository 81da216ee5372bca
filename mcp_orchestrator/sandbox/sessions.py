"""Sessions: a sandbox that keeps its variables and files between the runs of one owner."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import InvalidInputError, LimitExceededError, NotFoundError
from mcp_orchestrator.sandbox.conversation import OutputListener, Transcript, converse
from mcp_orchestrator.sandbox.job import Job, guest_request, result_of
from mcp_orchestrator.sandbox.pools import WarmPools
from mcp_orchestrator.sandbox.port import Worker
from mcp_orchestrator.sandbox.profiles import PLAIN
from mcp_orchestrator.sandbox.request import Limits
from mcp_orchestrator.sandbox.result import ExecutionResult


@dataclass(frozen=True)
class SessionView:
    """A session as its owner sees it.

    Attributes:
        session_id: its id, which nobody guesses.
        idle_until: when it is closed unless it is used before.
        limits: what it may use; ``wall_seconds`` and ``output_bytes`` count for each run.
    """

    session_id: str
    idle_until: datetime
    limits: Limits


@dataclass
class _Session:
    session_id: str
    owner: str | None
    limits: Limits
    worker: Worker
    turn: anyio.Lock
    used: float
    runs: int = 0


class Sessions:
    """The sessions of one sandbox.

    Args:
        pools: where their workers come from.
        clock: for deadlines and idleness.
        backend: the back end's name.
        most: how many there may be at a time.
        idle_seconds: after how long without a run one is closed.
    """

    def __init__(
        self, pools: WarmPools, clock: Clock, backend: str, *, most: int, idle_seconds: float
    ) -> None:
        self._pools = pools
        self._clock = clock
        self._backend = backend
        self._most = most
        self._idle_seconds = idle_seconds
        self._open: dict[str, _Session] = {}
        self._opening = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._open)

    async def open(self, limits: Limits, owner: str | None, profile: str = PLAIN) -> SessionView:
        """Open a session that only its owner can use.

        Raises:
            InvalidInputError: there is no such profile.
            LimitExceededError: there are as many as there may be.
            SandboxUnavailableError: no isolation can be had.
        """
        await self.close_idle()
        if len(self._open) + self._opening >= self._most:
            raise LimitExceededError(
                f"There are {self._most} open sandbox sessions; no more are allowed.",
                remedy="Close one with sandbox_close, or wait until an idle one is closed.",
            )
        self._opening += 1
        try:
            worker = await self._pools.take(limits, profile)
        finally:
            self._opening -= 1
        session_id = f"session-{secrets.token_hex(16)}"
        session = _Session(session_id, owner, limits, worker, anyio.Lock(), self._clock.monotonic())
        self._open[session_id] = session
        self._pools.refill(profile)
        return self._view(session)

    def view(self, session_id: str, owner: str | None) -> SessionView:
        """Return a session of this owner; raises NotFoundError."""
        return self._view(self._find(session_id, owner))

    async def run(
        self, job: Job, session_id: str, listener: OutputListener | None
    ) -> tuple[ExecutionResult, Transcript]:
        """Run code in a session; a run that does not end by itself ends the session.

        Cancelling the caller ends the session too: nobody knows in which state it is.

        Raises:
            InvalidInputError: another language than Python.
            NotFoundError: there is no such session, or it is somebody else's.
        """
        session = self._find(session_id, job.request.owner)
        if job.request.language != "python":
            raise InvalidInputError("A session runs Python only.")
        async with session.turn:
            self._find(session_id, job.request.owner)  # it may have ended while we waited
            session.used = self._clock.monotonic()
            goes_on = False
            try:
                result, transcript = await self._converse(session, job, listener)
                outcome = transcript.outcome
                goes_on = outcome is not None and outcome.alive and not transcript.overdue
            finally:
                session.used = self._clock.monotonic()
                if not goes_on:
                    await self._end(session)
        return result, transcript

    async def _converse(
        self, session: _Session, job: Job, listener: OutputListener | None
    ) -> tuple[ExecutionResult, Transcript]:
        session.runs += 1
        worker, limits = session.worker, job.request.limits
        began = self._clock.monotonic()
        told = worker.resource_limits(session.limits)
        told.pop("CPU", None)  # it would count over all runs; each run's time is bounded anyway
        message = guest_request(job, told) | {"main": f"run-{session.runs}.py"}
        transcript = await converse(
            worker,
            message,
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
        result = result_of(job, worker, transcript, usage, duration=duration, backend=self._backend)
        return result, transcript

    async def close(self, session_id: str, owner: str | None) -> None:
        """Kill a session with everything in it; raises NotFoundError."""
        await self._end(self._find(session_id, owner))

    async def close_idle(self) -> int:
        """Close the sessions that have not been used for too long; returns how many."""
        latest = self._clock.monotonic() - self._idle_seconds
        idle = [
            each for each in self._open.values() if each.used <= latest and not each.turn.locked()
        ]
        for session in idle:
            await self._end(session)
        return len(idle)

    async def close_all(self) -> None:
        """Kill every session."""
        for session in list(self._open.values()):
            await self._end(session)

    async def _end(self, session: _Session) -> None:
        self._open.pop(session.session_id, None)
        with anyio.CancelScope(shield=True):
            await session.worker.close()

    def _find(self, session_id: str, owner: str | None) -> _Session:
        session = self._open.get(session_id)
        if session is None or session.owner != owner:
            raise NotFoundError(
                f"There is no open session {session_id!r}.",
                remedy="It may have ended: open a new one with sandbox_open.",
            )
        return session

    def _view(self, session: _Session) -> SessionView:
        left = session.used + self._idle_seconds - self._clock.monotonic()
        until = self._clock.now() + timedelta(seconds=left)
        return SessionView(session.session_id, until, session.limits)
