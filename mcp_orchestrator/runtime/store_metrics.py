"""What Prometheus sees of the store as a whole, the same from every process."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

from prometheus_client import CollectorRegistry, Gauge

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.saga import SagaState
from mcp_orchestrator.store.audit import saga_ids_after, verify_saga
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.standing import saga_standing

_log = logging.getLogger(__name__)
_OPEN: Final = [state for state in SagaState if not state.is_finished]
#: How many sagas are verified in one read of the database.
_PAGE: Final = 100


class StoreMetrics:
    """Gauges of all sagas and of the audit trail.

    Args:
        registry: where they are registered.
        database: the store.
        clock: the time.
    """

    def __init__(self, registry: CollectorRegistry, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._open = Gauge("saga_open", "Sagas not finished.", ["state"], registry=registry)
        self._held = Gauge("saga_held", "Sagas that wait for a person.", registry=registry)
        self._unchanged = Gauge(
            "saga_oldest_unchanged_seconds",
            "How long the saga at work was left unchanged that was so longest.",
            registry=registry,
        )
        self._faults = Gauge(
            "audit_faults", "Faults found by the last verification of the trail.", registry=registry
        )
        self._verified = Gauge(
            "audit_verified_timestamp_seconds", "When the trail was last verified.",
            registry=registry,
        )  # fmt: skip

    async def show_sagas(self) -> None:
        """Set the gauges of the sagas."""
        async with self._database.read() as connection:
            standing = await saga_standing(connection)
        for state in _OPEN:
            self._open.labels(state.value).set(standing.by_state.get(state.value, 0))
        self._held.set(standing.held)
        since = standing.unchanged_since
        self._unchanged.set(self._seconds_since(since) if since is not None else 0.0)

    async def verify_for_ever(self, *, every: float) -> None:
        """Verify the hash chain of every saga again and again, until cancelled.

        Args:
            every: seconds from one verification to the next; the first comes after as many.
        """
        while True:
            await self._clock.sleep(every)
            try:
                await self.verify()
            except Exception as error:  # the database may be back the next time
                _log.warning("the audit trail could not be verified; trying again: %s", error)

    async def verify(self) -> int:
        """Verify the hash chain of every saga; return how many faults there are."""
        faults, page = 0, cast("Sequence[str]", [""])
        while page:
            async with self._database.read() as connection:
                page = await saga_ids_after(connection, page[-1], _PAGE)
                for saga_id in page:
                    for place in await verify_saga(connection, saga_id):
                        faults += 1
                        _log.error("audit of %s, event %d: %s", saga_id, place.sequence, place.what)
        self._faults.set(faults)
        self._verified.set(self._clock.now().timestamp())
        return faults

    def _seconds_since(self, moment: datetime) -> float:
        return max((self._clock.now() - moment).total_seconds(), 0.0)
