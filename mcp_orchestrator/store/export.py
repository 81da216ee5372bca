"""The audit trail as a file of JSON Lines that can be continued: complete, nothing twice."""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from anyio import to_thread

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.store.audit import read_trail, settled_end
from mcp_orchestrator.store.engine import Database


async def export_audit(database: Database, path: Path, *, saga_id: str | None = None) -> int:
    """Write the audit events that a file does not have yet to its end.

    Each line is one event with its number in the whole trail as ``id``; the last whole line says
    where to go on, and a line that a crash tore off is written anew.

    Args:
        database: whose trail.
        path: the file; it is created where it is missing.
        saga_id: only this saga's events; the same each time for the same file.

    Returns:
        How many events were written; they are on disk.

    Raises:
        InvalidInputError: the file is there and is not such an export.
    """
    last = await to_thread.run_sync(_last_exported, path)
    async with database.read() as connection:
        until = await settled_end(connection)
    count = 0
    with path.open("ab") as file:
        while True:
            async with database.read() as connection:
                page = await read_trail(connection, after=last, until=until, saga_id=saga_id)
            if not page:
                return count
            lines = [json.dumps(dict(row), default=plain, sort_keys=True) for row in page]
            await to_thread.run_sync(_append, file, "".join(f"{line}\n" for line in lines))
            last, count = page[-1]["id"], count + len(page)


def _append(file: BinaryIO, text: str) -> None:
    file.write(text.encode("ascii"))
    file.flush()
    os.fsync(file.fileno())


def _last_exported(path: Path) -> int:
    """Cut off a torn line and return the number of the last event in a file."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        last, kept = b"", 0
        for line in file:
            if line.endswith(b"\n"):
                last, kept = line, kept + len(line)
        file.truncate(kept)
    if not last:
        return 0
    try:
        return int(json.loads(last)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path} is not an export of the audit trail.", remedy="Name another file."
        ) from error


def plain(value: Any) -> str:
    """Return a moment as text, for JSON."""
    return value.isoformat(timespec="microseconds")
