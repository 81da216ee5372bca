"""The rows of the sagas: reading them, and writing many sagas' steps in a few statements."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, RowMapping, Select, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.errors import ConflictError, NotFoundError, StaleLeaseError
from mcp_orchestrator.store.bulk import BulkWriter, execute_plainly
from mcp_orchestrator.store.canonical import canonical_json
from mcp_orchestrator.store.schema.sagas import (
    OPEN,
    saga_audit_logs,
    saga_checkpoints,
    saga_definitions,
    saga_inbox,
    saga_keys,
    saga_memos,
    saga_signal_keys,
)

Columns = Mapping[str, object]
#: Epoch, number and hash of the last audit event of each saga.
Heads = dict[str, tuple[int, int, str]]

_DEFINITIONS = BulkWriter(saga_definitions)
_CHECKPOINTS = BulkWriter(saga_checkpoints)
_EVENTS = BulkWriter(saga_audit_logs)
_MEMOS = BulkWriter(saga_memos)
_KEYS = BulkWriter(saga_keys)


class CheckpointWrite(NamedTuple):
    """What one saga writes in one transaction.

    Attributes:
        saga_id: the saga.
        epoch: the epoch of the lease under which it is written.
        sequence: the number of the last audit event that the writer knows of.
        checkpoint: the columns of the saga's row that change, and its audit head; for a new
            saga all of them.
        definition: the definition's row, for a new saga only.
        events: rows of the audit trail, the first numbered ``sequence + 1``.
        memos: rows of memos.
        consumed: ids of the messages in the inbox that the events stand for.
        key: the row of the data key of a new saga that is encrypted.
        erased_at: when its data are erased with this write: its data key, memos and messages.
    """

    saga_id: str
    epoch: int
    sequence: int
    checkpoint: Columns
    definition: Columns | None = None
    events: Sequence[Columns] = ()
    memos: Sequence[Columns] = ()
    consumed: Sequence[int] = ()
    key: Columns | None = None
    erased_at: datetime | None = None

    @property
    def head(self) -> tuple[int, int, str]:
        """Epoch, number and hash of the last event, as they will stand after this write."""
        return (
            self.epoch,
            cast("int", self.checkpoint["audit_sequence"]),
            str(self.checkpoint["audit_hash"]),
        )


#: The hottest reads there are: one statement however many sagas, never compiled anew.
_HEADS = "SELECT saga_id, epoch, audit_sequence, audit_hash FROM saga_checkpoints WHERE saga_id"
_HEADS_ON_SQLITE = f"{_HEADS} IN (SELECT value FROM json_each(?))"
_HEADS_ON_POSTGRESQL = f"{_HEADS} = ANY($1::VARCHAR[]) ORDER BY saga_id FOR UPDATE"

#: Stands for a write whose commit was not answered, and that is on disk all the same.
_ALREADY_THERE = ConflictError("The write is already there.")


class DuplicateKeyError(ConflictError):
    """The user has already started a saga with this idempotency key; nothing was written."""

    code = "duplicate_key"


def write_checkpoints(
    connection: Connection, writes: Sequence[CheckpointWrite]
) -> Sequence[Exception | None]:
    """Write what several sagas have to write; each is refused alone.

    A write is refused when its lease was taken over, or when the saga's audit trail went on
    without it. One that is already there (its commit's answer was lost) is not done again.
    """
    heads = _heads(connection, writes)
    outcomes: dict[int, Exception] = {}
    for write in writes:
        if write.definition is None:
            refusal = _refuse(write, heads)
        else:
            refusal = _refuse_new(connection, write, heads)
        if refusal is not None:
            outcomes[id(write)] = refusal
    _write(connection, [write for write in writes if id(write) not in outcomes])
    answers = [outcomes.get(id(write)) for write in writes]
    return [None if answer is _ALREADY_THERE else answer for answer in answers]


def _refuse(write: CheckpointWrite, heads: Heads) -> ConflictError | None:
    head = heads.get(write.saga_id)
    if write.events and head == write.head:
        return _ALREADY_THERE
    if head is None or head[:2] != (write.epoch, write.sequence):
        return StaleLeaseError(
            f"Saga {write.saga_id!r} has been taken over; a write of epoch {write.epoch} was "
            "refused.",
            remedy="Its new runner goes on with it; there is nothing to do here.",
        )
    heads[write.saga_id] = write.head
    return None


def _refuse_new(
    connection: Connection, write: CheckpointWrite, heads: Heads
) -> ConflictError | None:
    if write.saga_id in heads:
        return _ALREADY_THERE
    key = write.checkpoint["idempotency_key"]
    if key is None:
        return None
    rival = find_by_key(connection, str(key), write.checkpoint["user_id"])
    return DuplicateKeyError(f"Saga {rival!r} has the same key.") if rival is not None else None


def _heads(connection: Connection, writes: Sequence[CheckpointWrite]) -> Heads:
    """Lock the rows (in one order, against deadlocks) and return epoch and audit head of each."""
    ids = [write.saga_id for write in writes]
    if connection.dialect.name == "sqlite":
        rows = execute_plainly(connection, _HEADS_ON_SQLITE, (canonical_json(ids),)).fetchall()
    else:
        rows = connection.exec_driver_sql(_HEADS_ON_POSTGRESQL, (ids,)).all()
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def _write(connection: Connection, writes: Sequence[CheckpointWrite]) -> None:
    created = [write.checkpoint for write in writes if write.definition is not None]
    changed = [
        {**write.checkpoint, "saga_id": write.saga_id}
        for write in writes
        if write.definition is None
    ]
    consumed = [number for write in writes for number in write.consumed]
    definitions = {row["definition_hash"]: row for write in writes if (row := write.definition)}
    _DEFINITIONS.insert_new(connection, list(definitions.values()))
    _CHECKPOINTS.insert(connection, created)
    _CHECKPOINTS.update(connection, _together(changed))
    _EVENTS.insert(connection, [row for write in writes for row in write.events])
    _MEMOS.insert(connection, [row for write in writes for row in write.memos])
    _KEYS.insert(connection, [write.key for write in writes if write.key is not None])
    for write in writes:
        if write.erased_at is not None:
            _erase(connection, write.saga_id, write.erased_at)
    if consumed:
        connection.execute(delete(saga_inbox).where(saga_inbox.c.id.in_(consumed)))


def _erase(connection: Connection, saga_id: str, now: datetime) -> None:
    """Destroy a saga's data key and what is not under it."""
    if connection.dialect.name == "sqlite":  # zeros in the place of what is deleted
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    mine = saga_keys.c.saga_id == saga_id
    connection.execute(update(saga_keys).where(mine).values(wrapped_key=None, erased_at=now))
    for table in (saga_memos, saga_inbox, saga_signal_keys):
        connection.execute(delete(table).where(table.c.saga_id == saga_id))


def _together(changed: Sequence[Columns]) -> Sequence[Columns]:
    """Put the changes of a row together: one statement changes a row once."""
    rows: dict[object, Columns] = {}
    for row in changed:
        earlier = rows.get(row["saga_id"])
        rows[row["saga_id"]] = row if earlier is None else {**earlier, **row}
    return list(rows.values())


#: What a vault finds a saga's cipher by.
_KEY_COLUMNS = (saga_keys.c.wrapped_key, saga_keys.c.master_key_id, saga_keys.c.erased_at)


async def read_key(connection: AsyncConnection, saga_id: str) -> Mapping[str, Any]:
    """Return what a vault finds a saga's cipher by, whether or not it has one."""
    query = select(*_KEY_COLUMNS).where(saga_keys.c.saga_id == saga_id)
    found = (await connection.execute(query)).first()
    names = (column.name for column in _KEY_COLUMNS)
    return {"saga_id": saga_id, **dict(zip(names, found or (None, None, None), strict=True))}


async def read_checkpoint(connection: AsyncConnection, saga_id: str) -> RowMapping:
    """Return a saga's row with its definition's ``body`` and the columns of its key.

    Raises:
        NotFoundError: there is no such saga.
    """
    found = (await connection.execute(_joined().where(_id() == saga_id))).mappings().first()
    if found is None:
        raise NotFoundError(f"There is no saga {saga_id!r}.", remedy="List them to see the ids.")
    return found


def find_by_key(connection: Connection, idempotency_key: str, user_id: object) -> str | None:
    """Return the id of the saga that a user started with a key."""
    table = saga_checkpoints.c
    same_user = table.user_id.is_(None) if user_id is None else table.user_id == user_id
    query = select(table.saga_id).where(table.idempotency_key == idempotency_key, same_user)
    return connection.execute(query).scalar()


async def list_checkpoints(
    connection: AsyncConnection,
    *,
    state: str | None = None,
    saga_type: str | None = None,
    user_id: str | None = None,
    updated_after: datetime | None = None,
    error: str | None = None,
    limit: int = 50,
) -> Sequence[RowMapping]:
    """Return the rows that match, the latest changed first.

    Args:
        connection: where to read.
        state: only sagas in this state.
        saga_type: only of this type.
        user_id: only of this user.
        updated_after: only changed after this moment.
        error: only those whose error has this text in it.
        limit: how many at the most.
    """
    table = saga_checkpoints.c
    query = _joined()
    for column, value in (
        (table.state, state), (table.saga_type, saga_type), (table.user_id, user_id),
    ):  # fmt: skip
        if value is not None:
            query = query.where(column == value)
    if updated_after is not None:
        query = query.where(table.updated_at > updated_after)
    if error is not None:
        query = query.where(table.error.icontains(error, autoescape=True))
    query = query.order_by(table.updated_at.desc(), table.saga_id).limit(limit)
    return (await connection.execute(query)).mappings().all()


async def children_of(
    connection: AsyncConnection, saga_id: str, *, only_open: bool = False
) -> Sequence[str]:
    """Return the ids of a saga's children; on demand of those that are not finished."""
    table = saga_checkpoints.c
    query = select(table.saga_id).where(table.parent_saga_id == saga_id)
    if only_open:
        query = query.where(OPEN)
    return (await connection.execute(query)).scalars().all()


async def read_memos(connection: AsyncConnection, saga_id: str) -> dict[str, Any]:
    """Return what a saga's memos hold, by name."""
    table = saga_memos.c
    query = select(table.name, table.value).where(table.saga_id == saga_id)
    return {row[0]: row[1] for row in await connection.execute(query)}


def _joined() -> Select[Any]:
    same = saga_definitions.c.definition_hash == saga_checkpoints.c.definition_hash
    own = saga_keys.c.saga_id == saga_checkpoints.c.saga_id
    columns = select(saga_checkpoints, saga_definitions.c.body, *_KEY_COLUMNS)
    return columns.join(saga_definitions, same).outerjoin(saga_keys, own)


def _id() -> Any:
    return saga_checkpoints.c.saga_id
