"""Same request, same answer: asked once, however many ask and in however many processes.

The first to ask takes off (a *flight*, held by a lease in the store); the others wait for it to
land. Those of the same process wait for each other in memory, so that one of them looks into the
store on behalf of all. If the flight fails, those who waited for it share its failure; if whoever
flew was cancelled or died, another takes off.
"""

import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import anyio
from sqlalchemy import Connection, and_, delete, func, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mcp_orchestrator.agents.bell import Bell
from mcp_orchestrator.agents.leases import renewed
from mcp_orchestrator.agents.metrics import ProviderMetrics
from mcp_orchestrator.agents.model import ModelReply, ModelRequest
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import (
    AnswerLostError,
    ProviderError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.ledger import model_answers as answers

Fetch = Callable[[], Awaitable[ModelReply]]


@dataclass(frozen=True)
class CacheSettings:
    """How long and how much is kept.

    Args:
        time_to_live: seconds an answer is good for.
        most: answers kept at most; the oldest go first.
        lease: seconds after which another takes over from a process that died while asking.
        poll: seconds between looks for what another process is fetching.
    """

    time_to_live: float = 86_400.0
    most: int = 10_000
    lease: float = 30.0
    poll: float = 0.1


@dataclass
class CacheStatistics:
    """What this process has found in the cache; for metrics."""

    hits: int = 0
    misses: int = 0

    @property
    def hit_rate(self) -> float:
        """Hits as a share of all lookups; 0 before the first."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0


@dataclass(frozen=True)
class _Row:
    flight: str
    expires_at: datetime
    reply: dict[str, object] | None
    failure: dict[str, object] | None


@dataclass
class _Flight:
    """A flight as those of the same process see it."""

    landed: anyio.Event = field(default_factory=anyio.Event)
    reply: ModelReply | None = None
    failure: ProviderError | None = None


class AnswerCache:
    """The answers of all models, in the store.

    Args:
        database: read from.
        committer: written through.
        clock: for expiry and leases.
        settings: how long and how much is kept.
        metrics: counts hits and misses; None for nothing.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        clock: Clock,
        settings: CacheSettings | None = None,
        metrics: ProviderMetrics | None = None,
    ) -> None:
        self.statistics = CacheStatistics()
        self._database = database
        self._committer = committer
        self._clock = clock
        self._settings = settings or CacheSettings()
        self._metrics = metrics
        self._flights: dict[str, _Flight] = {}
        self._bell = Bell(clock)

    async def answer(self, key: str, owner: str | None, fetch: Fetch) -> ModelReply:
        """Return the answer kept under a key; fetch it first if there is none.

        Args:
            key: what ``answer_key`` returned.
            owner: for ``forget``.
            fetch: asks the model; called at most once at a time over all processes.

        Raises:
            ProviderError: what ``fetch`` raised, here or wherever it was called.
        """
        while (flight := self._flights.get(key)) is not None:
            await flight.landed.wait()
            if flight.failure is not None:
                raise _copy(flight.failure)
            if flight.reply is not None:
                return self._hit(flight.reply)
        flight = self._flights[key] = _Flight()
        try:
            flight.reply = await self._found_or_fetched(key, owner, fetch)
        except ProviderError as error:
            flight.failure = error
            raise
        finally:
            del self._flights[key]
            flight.landed.set()
        return flight.reply

    async def forget(self, *, owner: str | None = None) -> int:
        """Delete the answers of an owner, or all, and return how many there were."""
        statement = delete(answers).where(answers.c.stored_at.is_not(None))
        if owner is not None:
            statement = statement.where(answers.c.owner == owner)
        result = await self._committer.submit(lambda connection: connection.execute(statement))
        return result.rowcount

    def _hit(self, reply: ModelReply) -> ModelReply:
        self.statistics.hits += 1
        if self._metrics is not None:
            self._metrics.looked_up(hit=True)
        return replace(reply, from_cache=True)

    async def _found_or_fetched(self, key: str, owner: str | None, fetch: Fetch) -> ModelReply:
        mine, awaited = uuid.uuid4().hex, None
        while True:
            rung = self._bell.listen()
            row = await self._look(key)
            if row is not None and row.failure is not None and row.flight == awaited:
                raise _error(row.failure)
            if row is None or row.failure is not None or row.expires_at <= self._clock.now():
                if await self._take_off(key, owner, mine):
                    return await self._fly(key, mine, fetch)
                continue
            if row.reply is not None:
                return self._hit(ModelReply.from_json(row.reply))
            awaited = row.flight
            await self._bell.wait(rung, self._settings.poll)

    async def _fly(self, key: str, mine: str, fetch: Fetch) -> ModelReply:
        self.statistics.misses += 1
        if self._metrics is not None:
            self._metrics.looked_up(hit=False)
        try:
            async with renewed(
                lambda: self._land(key, mine, self._settings.lease),
                self._settings.lease / 3,
                self._clock,
            ):
                reply = await fetch()
        except ProviderError as error:
            with anyio.CancelScope(shield=True):
                await self._land(key, mine, self._settings.lease, failure=_failure(error))
            raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._abandon(key, mine)
            raise
        await self._land(key, mine, self._settings.time_to_live, reply=reply.to_json())
        return reply

    async def _look(self, key: str) -> _Row | None:
        columns = (answers.c.flight, answers.c.expires_at, answers.c.reply, answers.c.failure)
        async with self._database.read() as connection:
            row = (await connection.execute(select(*columns).where(answers.c.key == key))).first()
        return _Row(row.flight, row.expires_at, row.reply, row.failure) if row is not None else None

    async def _take_off(self, key: str, owner: str | None, mine: str) -> bool:
        """Become the one who fetches; False if somebody else has just become it."""
        now = self._clock.now()
        expires = now + timedelta(seconds=self._settings.lease)
        dialect = sqlite if self._database.is_sqlite else postgresql
        row = {"key": key, "owner": owner, "flight": mine, "expires_at": expires}
        again = row | {"reply": null(), "failure": null(), "stored_at": null()}
        free = or_(answers.c.expires_at <= now, answers.c.failure.is_not(None))
        claim = (
            dialect.insert(answers)
            .values(row)
            .on_conflict_do_update(index_elements=["key"], set_=again, where=free)
        )

        def unit(connection: Connection) -> bool:
            connection.execute(claim)
            holder = select(answers.c.flight).where(answers.c.key == key)
            return connection.scalar(holder) == mine

        return await self._committer.submit(unit)

    async def _land(
        self,
        key: str,
        mine: str,
        lasts: float,
        *,
        reply: dict[str, object] | None = None,
        failure: dict[str, object] | None = None,
    ) -> None:
        """Write how the flight stands; nothing, if another has taken over meanwhile."""
        now = self._clock.now()
        values: dict[str, object] = {"expires_at": now + timedelta(seconds=lasts)}
        if reply is not None:
            values |= {"reply": reply, "stored_at": now}
        if failure is not None:
            values |= {"failure": failure}
        is_mine = and_(answers.c.key == key, answers.c.flight == mine, answers.c.reply.is_(None))

        def unit(connection: Connection) -> None:
            connection.execute(update(answers).where(is_mine).values(values))
            if reply is not None:
                self._make_room(connection, now)

        await self._committer.submit(unit)
        self._bell.ring()

    async def _abandon(self, key: str, mine: str) -> None:
        statement = delete(answers).where(answers.c.key == key, answers.c.flight == mine)
        await self._committer.submit(lambda connection: connection.execute(statement))
        self._bell.ring()

    def _make_room(self, connection: Connection, now: datetime) -> None:
        connection.execute(delete(answers).where(answers.c.expires_at <= now))
        kept = answers.c.stored_at.is_not(None)
        count = connection.scalar(select(func.count()).select_from(answers).where(kept)) or 0
        if count > self._settings.most:
            oldest = (
                select(answers.c.key)
                .where(kept)
                .order_by(answers.c.stored_at, answers.c.key)
                .limit(count - self._settings.most)
            )
            connection.execute(delete(answers).where(answers.c.key.in_(oldest)))


def answer_key(provider: str, model: str, request: ModelRequest) -> str:
    """Return what makes two requests the same: everything but who it is for and why it is asked.

    The owner is a part of it, so that nobody is answered from another's cache.
    """
    asked = replace(request, saga_id=None, purpose="", fresh=False)
    words = json.dumps([provider, model, asked.to_json()], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _failure(error: ProviderError) -> dict[str, object]:
    return {
        "message": error.message, "remedy": error.remedy, "provider": error.provider,
        "status": error.status, "kind": error.code,
    }  # fmt: skip


def _error(failure: dict[str, object]) -> ProviderError:
    kinds = (ProviderRejectedError, AnswerLostError)
    codes: dict[object, type[ProviderError]] = {kind.code: kind for kind in kinds}
    kind = codes.get(failure["kind"], ProviderUnavailableError)
    status = failure["status"]
    return kind(
        str(failure["message"]), provider=str(failure["provider"]), remedy=str(failure["remedy"]),
        status=status if isinstance(status, int) else None,
    )  # fmt: skip


def _copy(error: ProviderError) -> ProviderError:
    """Return the same error for another caller; one exception object must not be raised twice."""
    return _error(_failure(error))
