"""The sandbox's runs: written once, read by id, by saga or by owner."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.errors import NotFoundError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.runs import sandbox_runs


@dataclass(frozen=True)
class RunRecord:
    """One row: what was run, behind which walls, on whose behalf, and what came of it.

    Attributes:
        run_id: the run's id.
        kind: ``program`` or ``tests``.
        language: the program's language.
        code_hash: SHA-256 of the code (of the tests, for ``tests``).
        files_hash: SHA-256 over the files, the tested program among them.
        status: how it ended.
        reason: why, in words.
        exit_code: the program's own exit code.
        stdout: head and tail of what it wrote; likewise ``stderr``.
        risk_score: 0 to 100.
        risk_findings: the rules that fired, with their lines.
        backend: who isolated it.
        layers: the isolation that held.
        limits: what it was allowed.
        duration_seconds: from request to outcome.
        cpu_seconds: processor time.
        peak_memory_bytes: the most memory it held.
        owner: the principal who asked.
        saga_id: the saga on whose behalf.
        task_id: the queue task on whose behalf.
        started_at: when it was asked.
        finished_at: when it had ended.
    """

    run_id: str
    kind: str
    language: str
    code_hash: str
    files_hash: str | None
    status: str
    reason: str
    exit_code: int | None
    stdout: bytes
    stderr: bytes
    risk_score: int
    risk_findings: list[dict[str, object]]
    backend: str
    layers: list[str]
    limits: Mapping[str, object]
    duration_seconds: float
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    owner: str | None
    saga_id: str | None
    task_id: str | None
    started_at: datetime
    finished_at: datetime


class RunStore:
    """The table ``sandbox_runs``, which the database itself keeps append-only.

    Args:
        database: where it is.
        committer: the one writer of this process.
    """

    def __init__(self, database: Database, committer: GroupCommitter) -> None:
        self._database = database
        self._committer = committer

    async def add(self, record: RunRecord) -> None:
        """Write a run; returns once it is durable.

        Raises:
            BackendUnavailableError: the database refused.
        """
        values = asdict(record)

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(insert(sandbox_runs).values(values))

        await self._committer.submit(unit)

    async def get(self, run_id: str, *, owner: str | None = None) -> RunRecord:
        """Return a run; with an owner, only if it is theirs.

        Raises:
            NotFoundError: there is none with that id, or it is somebody else's.
        """
        query = select(sandbox_runs).where(sandbox_runs.c.run_id == run_id)
        if owner is not None:
            query = query.where(sandbox_runs.c.owner == owner)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise NotFoundError(f"There is no run {run_id!r}.", remedy="See the id you were given.")
        return _record(row)

    async def of_saga(self, saga_id: str) -> list[RunRecord]:
        """Return the runs of a saga, oldest first."""
        query = (
            select(sandbox_runs)
            .where(sandbox_runs.c.saga_id == saga_id)
            .order_by(sandbox_runs.c.started_at, sandbox_runs.c.run_id)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [_record(row) for row in rows]


def _record(row: RowMapping) -> RunRecord:
    return RunRecord(**{field.name: row[field.name] for field in fields(RunRecord)})
