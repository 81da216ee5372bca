"""Which confirmations have been used, so that each is good once, at whichever server."""

from datetime import datetime

from sqlalchemy import Connection, delete
from sqlalchemy.dialects import postgresql, sqlite

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.serving import used_confirmations


class UsedConfirmations:
    """Remembers nonces until they would have run out anyway.

    Args:
        database: whose dialect is spoken.
        committer: written through.
        clock: tells which have run out.
    """

    def __init__(self, database: Database, committer: GroupCommitter, clock: Clock) -> None:
        self._dialect = sqlite if database.is_sqlite else postgresql
        self._committer = committer
        self._clock = clock

    async def use(self, nonce: str, expires_at: datetime) -> bool:
        """Use a nonce up; on disk when this returns.

        Args:
            nonce: random, at most 64 characters.
            expires_at: from when on nobody would accept it.

        Returns:
            Whether it had not been used before.
        """
        now = self._clock.now()
        row = {"nonce": nonce, "expires_at": expires_at}
        insert = self._dialect.insert(used_confirmations).values(row).on_conflict_do_nothing()

        def unit(connection: Connection) -> bool:
            past = used_confirmations.c.expires_at < now
            connection.execute(delete(used_confirmations).where(past))
            return connection.execute(insert).rowcount == 1

        return await self._committer.submit(unit)
