"""Signed anchors of the audit trail: what the chain of one saga cannot show.

A saga's own chain cannot tell that the whole saga was removed, or that somebody who can write to
the database forged a chain from its beginning. An anchor covers every event since the one before
it, and the one before it, by HMAC-SHA256 under a key that the database never sees. Whoever keeps
the last signature elsewhere also finds out when anchors were cut off at the end.
"""

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select
from sqlalchemy.exc import IntegrityError

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConfigurationError, ConflictError
from mcp_orchestrator.store.audit import settled_end
from mcp_orchestrator.store.canonical import canonical_json
from mcp_orchestrator.store.chain import GENESIS
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.sagas import saga_anchors, saga_audit_logs

SHORTEST_KEY = 16
_PAGE = 5000


@dataclass(frozen=True, slots=True)
class AnchorKey:
    """A secret that signs anchors.

    Args:
        secret: at least 16 bytes.

    Raises:
        ConfigurationError: it is shorter.
    """

    secret: bytes

    def __post_init__(self) -> None:
        """Refuse what could be guessed."""
        if len(self.secret) < SHORTEST_KEY:
            raise ConfigurationError(
                f"The key of the audit anchors has {len(self.secret)} bytes.",
                remedy="Make one by: openssl rand -hex 32.",
            )

    @property
    def key_id(self) -> str:
        """What tells keys apart without telling them."""
        return hmac.new(self.secret, b"key id", hashlib.sha256).hexdigest()[:16]

    def sign(self, anchor: Mapping[Any, Any]) -> str:
        """Return the signature of an anchor's columns."""
        covered = {
            name: anchor[name]
            for name in ("first_id", "last_id", "events", "digest", "previous", "key_id")
        }
        covered["created_at"] = anchor["created_at"].isoformat(timespec="microseconds")
        text = canonical_json(covered).encode("ascii")
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()


async def write_anchor(
    database: Database,
    committer: GroupCommitter,
    key: AnchorKey,
    clock: Clock,
    *,
    not_within: timedelta = timedelta(),
) -> str | None:
    """Sign every event since the last anchor.

    Args:
        database: whose trail.
        committer: the process's one writer.
        key: what signs.
        clock: the time.
        not_within: how old the last anchor must be for another to be worth it.

    Returns:
        The new anchor's signature; None when nothing has happened since.

    Raises:
        ConflictError: somebody else has written one just now.
    """
    last = await last_anchor(database)
    if last is not None and clock.now() - last["created_at"] < not_within:
        return None
    async with database.read() as connection:
        until = await settled_end(connection)
    first = last["last_id"] + 1 if last is not None else 1
    if until < first:
        return None
    events, digest = await _digest(database, first, until)
    anchor: dict[str, Any] = {
        "first_id": first,
        "last_id": until,
        "events": events,
        "digest": digest,
        "previous": last["signature"] if last is not None else GENESIS,
        "created_at": clock.now(),
        "key_id": key.key_id,
    }
    anchor["signature"] = key.sign(anchor)
    await committer.submit(lambda connection: _insert(connection, anchor))
    return str(anchor["signature"])


def _insert(connection: Connection, anchor: Mapping[str, Any]) -> None:
    try:
        connection.execute(insert(saga_anchors).values(anchor))
    except IntegrityError as error:
        raise ConflictError("Another anchor was written just now.") from error


async def last_anchor(database: Database) -> RowMapping | None:
    """Return the row of the latest anchor; None before the first."""
    query = select(saga_anchors).order_by(saga_anchors.c.first_id.desc()).limit(1)
    async with database.read() as connection:
        return (await connection.execute(query)).mappings().first()


async def verify_anchors(database: Database, key: AnchorKey) -> AsyncIterator[str]:
    """Yield what is wrong with the anchors and with what they cover, a sentence each."""
    async with database.read() as connection:
        query = select(saga_anchors).order_by(saga_anchors.c.first_id)
        anchors = (await connection.execute(query)).mappings().all()
    first, previous = 1, GENESIS
    for anchor in anchors:
        name = f"anchor of events {anchor['first_id']} to {anchor['last_id']}"
        if anchor["key_id"] != key.key_id:
            yield f"{name}: it was signed with another key."
        elif not hmac.compare_digest(anchor["signature"], key.sign(anchor)):
            yield f"{name}: its signature is wrong."
        if (anchor["first_id"], anchor["previous"]) != (first, previous):
            yield f"{name}: an anchor before it was removed or replaced."
        found = await _digest(database, anchor["first_id"], anchor["last_id"])
        if found != (anchor["events"], anchor["digest"]):
            yield f"{name}: {found[0]} of {anchor['events']} events are there, or some differ."
        first, previous = anchor["last_id"] + 1, anchor["signature"]


async def _digest(database: Database, first: int, last: int) -> tuple[int, str]:
    """Return how many events there are from one number to another, and a hash over them all."""
    table = saga_audit_logs.c
    running, events, after = hashlib.sha256(), 0, first - 1
    while True:
        query = select(table.id, table.saga_id, table.sequence, table.hash)
        query = query.where(table.id > after, table.id <= last).order_by(table.id).limit(_PAGE)
        async with database.read() as connection:
            page = (await connection.execute(query)).all()
        if not page:
            return events, running.hexdigest()
        for row in page:
            running.update(f"{row[0]} {row[1]} {row[2]} {row[3]}\n".encode())
        events, after = events + len(page), page[-1][0]
