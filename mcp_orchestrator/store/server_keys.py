"""Secrets that the servers behind one address share: whichever starts first makes them."""

import secrets
from typing import Final

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.serving import server_keys

_BYTES: Final = 32


async def shared_key(
    database: Database, committer: GroupCommitter, clock: Clock, purpose: str
) -> bytes:
    """Return the secret of a purpose, the same to every server on this store.

    Args:
        database: whose dialect is spoken.
        committer: written through.
        clock: dates a new one.
        purpose: what it is for; each purpose has a secret of its own.

    Returns:
        32 random bytes.
    """
    dialect = sqlite if database.is_sqlite else postgresql
    row = {
        "purpose": purpose, "secret": secrets.token_bytes(_BYTES), "created_at": clock.now(),
    }  # fmt: skip

    def unit(connection: Connection) -> bytes:
        connection.execute(dialect.insert(server_keys).values(row).on_conflict_do_nothing())
        found = select(server_keys.c.secret).where(server_keys.c.purpose == purpose)
        return bytes(connection.execute(found).scalar_one())

    return await committer.submit(unit)
