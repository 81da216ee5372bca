"""Keeping a runner's lease from a thread of its own, so that a blocking action loses no saga."""

import asyncio
import logging
import threading
from datetime import timedelta
from typing import Self

from anyio import to_thread

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.store.engine import Database, open_engine
from mcp_orchestrator.store.leases import renew_lease

_log = logging.getLogger(__name__)


class Heartbeat:
    """Renews one runner's lease three times in its length; use as an async context manager.

    The thread has its own connection and its own event loop (the drivers of both databases are
    asynchronous), so neither an action that blocks nor a busy writer keeps it from its work.

    Args:
        database: which database; the thread opens it again for itself.
        runner_id: whose lease.
        lease_seconds: how long it lasts from each renewal.
        clock: the time that is written.
    """

    def __init__(
        self, database: Database, runner_id: str, lease_seconds: float, clock: Clock
    ) -> None:
        self._url = database.engine.url.render_as_string(hide_password=False)
        self._runner_id = runner_id
        self._lease = timedelta(seconds=lease_seconds)
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, name=f"saga-heartbeat-{runner_id}", daemon=True
        )

    async def __aenter__(self) -> Self:
        """Start the thread; the first lease is the caller's to write."""
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the thread; the lease is the caller's to end."""
        self._stop.set()
        await to_thread.run_sync(self._thread.join, abandon_on_cancel=False)

    def _beat(self) -> None:
        pause = self._lease.total_seconds() / 3
        with asyncio.Runner() as loop:  # one loop for the thread's life: connections belong to it
            database = open_engine(self._url)
            while not self._stop.wait(pause):
                try:
                    loop.run(self._renew(database))
                except Exception as error:  # the thread must outlive whatever befalls the database
                    _log.warning("saga lease not renewed: %s", error)
            loop.run(database.close())

    async def _renew(self, database: Database) -> None:
        async with database.write() as connection:
            until = self._clock.now() + self._lease
            await connection.run_sync(renew_lease, self._runner_id, until)
