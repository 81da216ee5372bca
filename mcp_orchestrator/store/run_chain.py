"""The hash chains of the sandbox's runs: one for each writer, so that writers never wait.

Each row's hash covers it and the row before it in its chain; the head of each chain is a row of its
own, so that cutting off the end shows as well.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.store.canonical import canonical_json
from mcp_orchestrator.store.chain import GENESIS
from mcp_orchestrator.store.schema.runs import sandbox_run_chains, sandbox_runs

_UNCOVERED = {"hash"}
_PAGE = 500


@dataclass(frozen=True, slots=True)
class RunTampering:
    """One place where the record of the runs is not what was written.

    Attributes:
        chain_id: the chain.
        sequence: the number in it that is wrong or missing.
        what: what is wrong, in one sentence.
    """

    chain_id: str
    sequence: int
    what: str


def run_hash(previous: str, row: Mapping[str, object]) -> str:
    """Return the SHA-256, in hexadecimal, of a row that follows another.

    Args:
        previous: the hash of the row before, ``GENESIS`` for the first.
        row: every column of the row; ``hash`` itself does not count.
    """
    covered = {name: _plain(value) for name, value in row.items() if name not in _UNCOVERED}
    return hashlib.sha256(f"{previous}\n{canonical_json(covered)}".encode("ascii")).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return value


def append_run(connection: Connection, chain_id: str, values: Mapping[str, object]) -> None:
    """Write a row as the next of a chain, which only one writer uses.

    Args:
        connection: in a transaction.
        chain_id: the writer's chain.
        values: every column but those of the chain.
    """
    heads = sandbox_run_chains.c
    query = select(heads.sequence, heads.hash).where(heads.chain_id == chain_id)
    head = (connection.execute(query)).first()
    last, previous = (0, GENESIS) if head is None else (head[0], head[1])
    row: dict[str, object] = {**values, "chain_id": chain_id, "sequence": last + 1}
    row["hash"] = run_hash(previous, row)
    connection.execute(insert(sandbox_runs).values(row))
    new = {"sequence": last + 1, "hash": row["hash"]}
    if head is None:
        connection.execute(insert(sandbox_run_chains).values(chain_id=chain_id, **new))
    else:
        moved = update(sandbox_run_chains).where(heads.chain_id == chain_id)
        connection.execute(moved.values(**new))


async def verify_runs(connection: AsyncConnection) -> list[RunTampering]:
    """Recompute every chain and compare; returns what is wrong, nothing for an intact record."""
    heads = sandbox_run_chains.c
    query = select(heads.chain_id, heads.sequence, heads.hash).order_by(heads.chain_id)
    found: list[RunTampering] = []
    known: list[str] = []
    for chain_id, last, last_hash in (await connection.execute(query)).all():
        known.append(chain_id)
        found += await _verify_chain(connection, chain_id, last, last_hash)
    runs = sandbox_runs.c
    strays = select(runs.chain_id).distinct().where(runs.chain_id.is_not(None))
    for chain_id in (await connection.execute(strays)).scalars().all():
        if chain_id not in known:
            found.append(RunTampering(chain_id, 1, "The head of the chain was removed."))
    return found


async def _verify_chain(
    connection: AsyncConnection, chain_id: str, last: int, last_hash: str
) -> list[RunTampering]:
    runs = sandbox_runs.c
    found: list[RunTampering] = []
    previous, expected = GENESIS, 1
    while True:
        query = select(sandbox_runs).where(runs.chain_id == chain_id, runs.sequence >= expected)
        page = await connection.execute(query.order_by(runs.sequence).limit(_PAGE))
        rows = page.mappings().all()
        for each in rows:
            row = {str(name): value for name, value in each.items()}
            if row["sequence"] != expected:
                found.append(RunTampering(chain_id, expected, "The run was removed."))
            elif row["hash"] != run_hash(previous, row):
                found.append(RunTampering(chain_id, expected, "The run was altered or inserted."))
            previous, expected = str(row["hash"]), int(row["sequence"]) + 1
        if len(rows) < _PAGE:
            break
    if last >= expected:
        found.append(RunTampering(chain_id, expected, "The end of the chain was cut off."))
    elif last < expected - 1:
        found.append(RunTampering(chain_id, last + 1, "Runs were added at the end."))
    elif last_hash != previous and not found:
        found.append(RunTampering(chain_id, last, "The head does not match its chain."))
    return found
