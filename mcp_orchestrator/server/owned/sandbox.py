"""Sandbox runs and sessions of one caller."""

from dataclasses import replace

from mcp_orchestrator.sandbox import (
    PLAIN,
    ExecutionRequest,
    ExecutionResult,
    Limits,
    Sandbox,
    SandboxStatus,
    TestReport,
    TestRequest,
)
from mcp_orchestrator.sandbox.conversation import OutputListener
from mcp_orchestrator.sandbox.policy import RiskPolicy
from mcp_orchestrator.sandbox.sessions import SessionView
from mcp_orchestrator.server.owned.queue import OwnedQueue
from mcp_orchestrator.server.owned.sagas import OwnedSagas
from mcp_orchestrator.server.owned.sight import Sight
from mcp_orchestrator.store.run_files import RunFile, RunFileKind
from mcp_orchestrator.store.runs import RunRecord, RunStore


class OwnedSandbox:
    """The sandbox as the caller sees it; each method is the sandbox's of that name."""

    def __init__(self, sandbox: Sandbox, sight: Sight) -> None:
        self._sandbox = sandbox
        self._sight = sight

    @property
    def risk_policy(self) -> RiskPolicy:
        """What the risk score decides."""
        return self._sandbox.risk_policy

    async def run(
        self,
        request: ExecutionRequest,
        *,
        session_id: str | None = None,
        listener: OutputListener | None = None,
    ) -> ExecutionResult:
        """Run a program for the caller."""
        owned = replace(request, owner=self._sight.owner)
        return await self._sandbox.run(owned, session_id=session_id, listener=listener)

    async def run_tests(self, request: TestRequest) -> TestReport:
        """Run tests for the caller."""
        return await self._sandbox.run_tests(replace(request, owner=self._sight.owner))

    async def open_session(
        self, limits: Limits | None = None, *, profile: str = PLAIN
    ) -> SessionView:
        """Open a session that only the caller can use."""
        owner = self._sight.owner
        return await self._sandbox.open_session(limits, owner=owner, profile=profile)

    async def close_session(self, session_id: str) -> None:
        """Close a session of the caller's."""
        await self._sandbox.close_session(session_id, owner=self._sight.owner)

    async def check(self) -> SandboxStatus:
        """Start a worker and say what its walls are."""
        return await self._sandbox.check()


class OwnedRuns:
    """The record of the caller's runs: what they ran, and what ran for their sagas and tasks."""

    def __init__(self, runs: RunStore, sagas: OwnedSagas, queue: OwnedQueue, sight: Sight) -> None:
        self._runs = runs
        self._sagas = sagas
        self._queue = queue
        self._sight = sight

    async def get(self, run_id: str) -> RunRecord:
        """Return a run of the caller's; raises NotFoundError."""
        with self._sight.hiding("run", run_id):
            record = await self._runs.get(run_id)
            if record.owner is not None or self._sight.sees_all:
                self._sight.require(record.owner)
            elif record.saga_id is not None:
                await self._sagas.get(record.saga_id)
            elif record.task_id is not None:
                await self._queue.get_task(record.task_id)
            else:
                self._sight.require(None)
        return record

    async def recent(self, limit: int) -> list[RunRecord]:
        """Return the latest runs that the caller asked for, newest first."""
        return await self._runs.recent(limit, owner=self._sight.only_owner)

    async def file(self, run_id: str, kind: RunFileKind, path: str) -> RunFile:
        """Return a file that a run of the caller's left behind."""
        await self.get(run_id)
        return await self._runs.file(run_id, kind, path)
