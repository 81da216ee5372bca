"""The sandbox's runs: written once, read by id, by saga or by owner."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from mcp_orchestrator.errors import NotFoundError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.run_chain import RunTampering, append_run, verify_runs
from mcp_orchestrator.store.run_files import (
    RunFile,
    RunFileKind,
    forget_files,
    read_file,
    write_files,
)
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
        limits: what it was allowed, with the name of its profile.
        duration_seconds: from request to outcome.
        cpu_seconds: processor time.
        peak_memory_bytes: the most memory it held.
        owner: the principal who asked.
        saga_id: the saga on whose behalf.
        task_id: the queue task on whose behalf.
        started_at: when it was asked.
        finished_at: when it had ended.
        session_id: the session it ran in.
        artifacts: path, size and SHA-256 of each file it made.
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
    session_id: str | None = None
    artifacts: list[dict[str, object]] = field(default_factory=list[dict[str, object]])


class RunStore:
    """The table ``sandbox_runs``, which the database itself keeps append-only.

    Args:
        database: where it is.
        committer: the one writer of this process.
    """

    def __init__(self, database: Database, committer: GroupCommitter) -> None:
        self._database = database
        self._committer = committer
        self._chain_id = uuid.uuid4().hex

    async def add(self, record: RunRecord, files: Sequence[RunFile] = ()) -> None:
        """Write a run with its files; returns once it is durable.

        Raises:
            BackendUnavailableError: the database refused.
        """
        values = asdict(record)

        def unit(connection: Connection) -> None:
            append_run(connection, self._chain_id, values)
            write_files(connection, record.run_id, files, record.finished_at)

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

    async def file(self, run_id: str, kind: RunFileKind, path: str) -> RunFile:
        """Return a file that a run left behind.

        Raises:
            NotFoundError: there is none, or it has been deleted since.
        """
        async with self._database.read() as connection:
            found = await read_file(connection, run_id, kind, path)
        if found is None:
            raise NotFoundError(
                f"Run {run_id!r} has no file {path!r}.",
                remedy="Its row says which files there were; they are kept for some days only.",
            )
        return found

    async def forget_files(self, before: datetime) -> None:
        """Delete the files of older runs."""

        def unit(connection: Connection) -> None:
            forget_files(connection, before)

        await self._committer.submit(unit)

    async def verify(self) -> list[RunTampering]:
        """Recompute the hash chains; returns what is wrong."""
        async with self._database.read() as connection:
            return await verify_runs(connection)

    async def recent(self, limit: int, *, owner: str | None = None) -> list[RunRecord]:
        """Return the latest runs, newest first; with an owner, only those they asked for."""
        query = select(sandbox_runs).order_by(
            sandbox_runs.c.started_at.desc(), sandbox_runs.c.run_id
        )
        if owner is not None:
            query = query.where(sandbox_runs.c.owner == owner)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.limit(limit))).mappings().all()
        return [_record(row) for row in rows]

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
    values: dict[str, Any] = {each.name: row[each.name] for each in fields(RunRecord)}
    values["artifacts"] = values["artifacts"] or []  # runs from before there were any
    return RunRecord(**values)
