"""What a run left behind beside its row: files it made, and outputs too long to be shown whole."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.store.schema.runs import sandbox_run_files

RunFileKind = Literal["artifact", "output"]


@dataclass(frozen=True)
class RunFile:
    """One file of a run.

    Attributes:
        kind: ``artifact`` for a file that the program made, ``output`` for stdout or stderr.
        path: its path in the working folder, or the output's name.
        media_type: what it is.
        content: its bytes.
    """

    kind: RunFileKind
    path: str
    media_type: str
    content: bytes = field(repr=False)


def write_files(
    connection: Connection, run_id: str, files: Sequence[RunFile], at: datetime
) -> None:
    """Write the files of a run."""
    rows = [{"run_id": run_id, "created_at": at, **asdict(file)} for file in files]
    if rows:
        connection.execute(insert(sandbox_run_files), rows)


async def read_file(
    connection: AsyncConnection, run_id: str, kind: RunFileKind, path: str
) -> RunFile | None:
    """Return one file of a run, if it is there (still)."""
    table = sandbox_run_files.c
    query = select(table.media_type, table.content).where(
        table.run_id == run_id, table.kind == kind, table.path == path
    )
    row = (await connection.execute(query)).first()
    return None if row is None else RunFile(kind, path, row[0], row[1])


def forget_files(connection: Connection, before: datetime) -> int:
    """Delete what is older; the rows of the runs, with the hashes of their files, stay."""
    statement = delete(sandbox_run_files).where(sandbox_run_files.c.created_at < before)
    return (connection.execute(statement)).rowcount
