"""Reading the audit trail, and finding out whether somebody has tampered with it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.store.chain import GENESIS, event_hash
from mcp_orchestrator.store.schema.sagas import saga_audit_logs, saga_checkpoints
from mcp_orchestrator.store.sealing import Cipher


@dataclass(frozen=True, slots=True)
class Tampering:
    """One place where the audit trail is not what was written.

    Attributes:
        saga_id: the saga.
        sequence: the number of the event that is wrong or missing.
        what: what is wrong with it, in one sentence.
    """

    saga_id: str
    sequence: int
    what: str


#: What an encrypted saga's events seal: JSON and texts. The rest can be searched without a key.
_SEALED_JSON = ("event_data", "context_snapshot")
_SEALED_TEXT = ("error_message", "error_stack_trace")


def seal_columns(event: dict[str, Any], cipher: Cipher) -> None:
    """Seal what an event says, in its place in the trail; its JSON is canonical text."""
    for name in _SEALED_JSON:
        if event[name] is not None:
            event[name] = cipher.seal_json(f"{event['sequence']}/{name}", event[name])
    for name in _SEALED_TEXT:
        if event[name] is not None:
            event[name] = cipher.seal_text(f"{event['sequence']}/{name}", event[name])


def open_columns(event: Mapping[Any, Any], cipher: Cipher) -> dict[str, Any]:
    """Return the columns of an event that were sealed, as they were."""
    opened: dict[str, Any] = {}
    for name in _SEALED_JSON:
        if event[name] is not None:
            opened[name] = cipher.open_json(f"{event['sequence']}/{name}", event[name])
    for name in _SEALED_TEXT:
        if event[name] is not None:
            opened[name] = cipher.open_text(f"{event['sequence']}/{name}", event[name])
    return opened


async def read_events(
    connection: AsyncConnection, saga_id: str, *, after: int = 0, limit: int = 1000
) -> Sequence[RowMapping]:
    """Return a saga's events in order.

    Args:
        connection: where to read.
        saga_id: the saga.
        after: only events with a higher number.
        limit: how many at the most.
    """
    table = saga_audit_logs.c
    query = (
        select(saga_audit_logs)
        .where(table.saga_id == saga_id, table.sequence > after)
        .order_by(table.sequence)
        .limit(limit)
    )
    return (await connection.execute(query)).mappings().all()


async def verify_saga(connection: AsyncConnection, saga_id: str) -> list[Tampering]:
    """Recompute a saga's chain and compare it with what is stored.

    Args:
        connection: where to read; one snapshot, so that a saga that is running verifies too.
        saga_id: the saga.

    Returns:
        What is wrong, the first place first; nothing for an intact trail. After a wrong hash
        the chain is followed from what is stored, so that each wrong event is named once.
    """
    found: list[Tampering] = []
    previous, expected = GENESIS, 1
    while page := await read_events(connection, saga_id, after=expected - 1):
        for row in page:
            event = {str(name): value for name, value in row.items()}
            if event["sequence"] != expected:
                found.append(Tampering(saga_id, expected, "The event was removed or renumbered."))
            elif event["hash"] != event_hash(previous, event):
                found.append(Tampering(saga_id, expected, "The event was altered or inserted."))
            previous, expected = event["hash"], event["sequence"] + 1
    table = saga_checkpoints.c
    query = select(table.audit_sequence, table.audit_hash).where(table.saga_id == saga_id)
    head = (await connection.execute(query)).first()
    if head is None:
        found.append(Tampering(saga_id, expected, "The saga's own row was removed."))
    elif head[0] >= expected:
        found.append(Tampering(saga_id, expected, "The end of the trail was cut off."))
    elif head[0] < expected - 1:
        found.append(Tampering(saga_id, head[0] + 1, "Events were added at the end."))
    elif head[1] != previous and not found:
        found.append(Tampering(saga_id, head[0], "The saga's head does not match its trail."))
    return found


async def verify_all(connection: AsyncConnection) -> AsyncIterator[Tampering]:
    """Verify every saga that has a row or an event."""
    last = ""
    while page := await saga_ids_after(connection, last, 500):
        for saga_id in page:
            for tampering in await verify_saga(connection, saga_id):
                yield tampering
        last = page[-1]


async def saga_ids_after(connection: AsyncConnection, last: str, limit: int) -> Sequence[str]:
    """Return the next ids, in order, of sagas that have a row or an event."""
    rows, events = saga_checkpoints.c.saga_id, saga_audit_logs.c.saga_id
    query = select(rows).where(rows > last).union(select(events).where(events > last))
    return (await connection.execute(query.order_by("saga_id").limit(limit))).scalars().all()


async def settled_end(connection: AsyncConnection) -> int:
    """Return the number of a row up to which the trail of all sagas will not change any more.

    PostgreSQL hands out numbers before it commits, so that a smaller one may appear after a
    greater; waiting for the writers of this moment leaves none out.

    Args:
        connection: in a transaction of its own, which ends soon after: writers wait for it.
    """
    if connection.dialect.name != "sqlite":
        await connection.execute(text("LOCK TABLE saga_audit_logs IN SHARE MODE"))
    return await connection.scalar(select(func.max(saga_audit_logs.c.id))) or 0


async def read_trail(
    connection: AsyncConnection,
    *,
    after: int,
    until: int,
    saga_id: str | None = None,
    limit: int = 1000,
) -> Sequence[RowMapping]:
    """Return events of all sagas in the order of their numbers in the whole trail.

    Args:
        connection: where to read.
        after: only rows with a higher number.
        until: the last number; see ``settled_end``.
        saga_id: only of this saga.
        limit: how many at the most.
    """
    table = saga_audit_logs.c
    query = select(saga_audit_logs).where(table.id > after, table.id <= until)
    if saga_id is not None:
        query = query.where(table.saga_id == saga_id)
    return (await connection.execute(query.order_by(table.id).limit(limit))).mappings().all()
