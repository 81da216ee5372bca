"""Limits that all processes on one database keep together, and that adapt to the provider.

How many calls may be under way follows additive increase and multiplicative decrease (Jacobson,
"Congestion avoidance and control", 1988): each success allows a little more, a 429 halves it,
once per pause, and everybody waits until the pause the provider asked for is over.
"""

import uuid
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio
from sqlalchemy import Connection, Update, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mcp_orchestrator.agents.bell import Bell
from mcp_orchestrator.agents.leases import renewed
from mcp_orchestrator.agents.limits import LimitSettings
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.ledger import provider_limits as limits
from mcp_orchestrator.store.schema.ledger import provider_slots as slots


@dataclass(frozen=True)
class _State:
    allowed: float
    bucket: float
    refilled_at: datetime
    paused_until: datetime | None

    def pause_after(self, now: datetime) -> float:
        """Return the seconds for which nobody may ask."""
        return (self.paused_until - now).total_seconds() if self.paused_until else 0.0


class SharedLimits:
    """The limits of one provider.

    Args:
        provider: whose.
        database: read from.
        committer: written through.
        clock: for leases and pauses; processes on several hosts need theirs roughly equal.
        settings: what the provider allows us.
    """

    def __init__(
        self,
        provider: str,
        database: Database,
        committer: GroupCommitter,
        clock: Clock,
        settings: LimitSettings | None = None,
    ) -> None:
        self._provider = provider
        self._database = database
        self._committer = committer
        self._clock = clock
        self._settings = settings or LimitSettings()
        self._bell = Bell(clock)

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for room, and hold it for one attempt; leaving without an error is a success."""
        return self._slot()

    async def throttled(self, seconds: float | None) -> None:
        """Record a 429: allow half as much, and pause as the provider asked.

        Args:
            seconds: its ``Retry-After``; None where it sent none.
        """
        now = self._clock.now()
        pause = self._settings.pause if seconds is None else seconds

        def unit(connection: Connection) -> None:
            state = self._locked(connection, now)
            left = state.pause_after(now)
            values: dict[str, object] = {"paused_until": now + timedelta(seconds=max(pause, left))}
            if left <= 0:  # one burst of refusals is one sign, however many calls it hit
                values["allowed"] = max(state.allowed / 2, 1.0)
            connection.execute(self._update().values(values))

        await self._committer.submit(unit)

    async def allowed(self) -> float:
        """Return how many calls may be under way at once at present."""
        statement = select(limits.c.allowed).where(limits.c.provider == self._provider)
        async with self._database.read() as connection:
            found = await connection.scalar(statement)
        return float(self._settings.concurrency if found is None else found)

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        slot_id = await self._acquire()
        succeeded = False
        try:
            async with renewed(lambda: self._renew(slot_id), self._settings.lease / 3, self._clock):
                yield
            succeeded = True
        finally:
            with anyio.CancelScope(shield=True):
                await self._release(slot_id, succeeded=succeeded)

    async def _acquire(self) -> str:
        slot_id = uuid.uuid4().hex
        try:
            while True:
                rung = self._bell.listen()
                wait = await self._committer.submit(lambda c: self._try_to_take(c, slot_id))
                if wait is None:
                    return slot_id
                await self._bell.wait(rung, wait)
        except BaseException:  # cancelled while the slot may just have become ours
            with anyio.CancelScope(shield=True):
                await self._release(slot_id, succeeded=False)
            raise

    def _try_to_take(self, connection: Connection, slot_id: str) -> float | None:
        """Take a slot, or return the seconds after which to look again."""
        now, settings = self._clock.now(), self._settings
        state = self._locked(connection, now)
        if state.pause_after(now) > 0:
            return state.pause_after(now)
        live = and_(slots.c.provider == self._provider, slots.c.expires_at > now)
        held = connection.scalar(select(func.count()).select_from(slots).where(live)) or 0
        if held >= int(min(state.allowed, settings.concurrency)):
            return settings.poll
        if settings.per_minute is not None:
            elapsed = (now - state.refilled_at).total_seconds()
            bucket = settings.refilled(state.bucket, elapsed)
            if bucket < 1:
                return (1 - bucket) * 60 / settings.per_minute
            spent = self._update().values(bucket=bucket - 1, refilled_at=now)
            connection.execute(spent)
        expires = now + timedelta(seconds=settings.lease)
        row_of_slot = {"id": slot_id, "provider": self._provider, "expires_at": expires}
        connection.execute(insert(slots).values(row_of_slot))
        return None

    def _locked(self, connection: Connection, now: datetime) -> _State:
        """Return the provider's row, made if need be, and nobody else's until we commit."""
        statement = select(limits).where(limits.c.provider == self._provider).with_for_update()
        row = connection.execute(statement).first()
        if row is None:
            self._begin(connection, now)
            row = connection.execute(statement).one()
        return _State(row.allowed, row.bucket, row.refilled_at, row.paused_until)

    def _begin(self, connection: Connection, now: datetime) -> None:
        """Make the provider's row, unless another process has just made it."""
        dialect, settings = sqlite if self._database.is_sqlite else postgresql, self._settings
        first = {
            "provider": self._provider, "allowed": float(settings.concurrency),
            "bucket": settings.burst, "refilled_at": now,
        }  # fmt: skip
        connection.execute(dialect.insert(limits).values(first).on_conflict_do_nothing())

    async def _renew(self, slot_id: str) -> None:
        expires = self._clock.now() + timedelta(seconds=self._settings.lease)
        statement = update(slots).where(slots.c.id == slot_id).values(expires_at=expires)
        await self._committer.submit(lambda connection: connection.execute(statement))

    async def _release(self, slot_id: str, *, succeeded: bool) -> None:
        most = float(self._settings.concurrency)
        more = limits.c.allowed + 1 / limits.c.allowed
        grown = (
            self._update()
            .where(limits.c.allowed < most)
            .values(allowed=case((more > most, most), else_=more))
        )

        dead = and_(slots.c.provider == self._provider, slots.c.expires_at <= self._clock.now())

        def unit(connection: Connection) -> None:
            connection.execute(delete(slots).where(or_(slots.c.id == slot_id, dead)))
            if succeeded:
                connection.execute(grown)

        await self._committer.submit(unit)
        self._bell.ring()

    def _update(self) -> Update:
        return update(limits).where(limits.c.provider == self._provider)
