"""The ledger: what every model call used and cost, and the budgets that hold it in check.

A call is entered before it is made, with the most it may cost, in the same transaction that
checks the budgets: two calls can therefore not both take the last of one. Settling replaces the
reservation by what was really used. Where nobody knows (cancelled, killed in mid-call, a provider
that tells no usage) the reservation stands, because the call may well have been billed.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from sqlalchemy import Connection, RowMapping, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import BudgetExceededError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.ledger_budgets import Budget, PlannedCall, require_room
from mcp_orchestrator.store.ledger_totals import (
    BILLION,
    Outcome,
    Totals,
    billionths,
    matching,
    sum_calls,
)
from mcp_orchestrator.store.schema.ledger import ledger_entries as entries

__all__ = [
    "Budget",
    "Ledger",
    "LedgerEntry",
    "Outcome",
    "PlannedCall",
    "SpendKey",
    "Spent",
    "Totals",
]

_log = logging.getLogger(__name__)

#: What spending can be broken down by.
SpendKey = Literal["provider", "model", "purpose", "owner", "saga_id"]


@dataclass(frozen=True)
class Spent:
    """What a call really used; ``cost`` is None where nobody told."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True)
class LedgerEntry:
    """One call, as it was entered and settled."""

    entry_id: str
    started_at: datetime
    provider: str
    model: str
    purpose: str
    owner: str | None
    saga_id: str | None
    outcome: Outcome
    error_code: str | None
    spent: Spent
    latency_seconds: float | None
    request_id: str | None


@dataclass(frozen=True)
class _Entering:
    """A row to be entered if the budgets allow it."""

    row: dict[str, object]
    call: PlannedCall
    budgets: Sequence[Budget]


@dataclass(frozen=True)
class _Settling:
    entry_id: str
    values: dict[str, object]


class Ledger:
    """Enters, settles and sums model calls.

    Args:
        database: read from.
        committer: written through.
        clock: dates the entries.
    """

    def __init__(self, database: Database, committer: GroupCommitter, clock: Clock) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._unwritten: set[asyncio.Future[object]] = set()

    async def enter(self, call: PlannedCall, budgets: Sequence[Budget] = ()) -> str:
        """Enter a call that is about to be made and return the entry's id.

        Raises:
            BudgetExceededError: the call might pass one of the budgets; nothing was entered.
        """
        entry_id = uuid.uuid4().hex
        row = self._row(entry_id, call, Outcome.PENDING) | {
            "reserved_tokens": call.tokens,
            "reserved_billionths": billionths(call.cost),
        }
        await self._committer.submit_to(_enter, _Entering(row, call, budgets))
        return entry_id

    async def resume(self, entry_id: str, *, saga_id: str, purpose: str) -> str:
        """Give an entry up for the one that a process, now dead, made for the same call.

        Args:
            entry_id: what ``enter`` has just returned.
            saga_id: the saga that asks.
            purpose: what for.

        Returns:
            The earlier entry, still to be settled; the same one again if there is none.
        """
        earlier = (
            select(entries.c.id)
            .where(
                entries.c.saga_id == saga_id,
                entries.c.purpose == purpose,
                entries.c.outcome == Outcome.PENDING.value,
                entries.c.id != entry_id,
            )
            .order_by(entries.c.started_at.desc(), entries.c.id)
            .limit(1)
        )

        def unit(connection: Connection) -> str:
            found = connection.scalar(earlier)
            if found is None:
                return entry_id
            connection.execute(delete(entries).where(entries.c.id == entry_id))
            return found

        return await self._committer.submit(unit)

    def settle(
        self,
        entry_id: str,
        outcome: Outcome,
        spent: Spent | None,
        *,
        latency_seconds: float,
        error_code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Record how a call ended: soon, and before whatever is written after this.

        Nobody waits for it: should the process die first, the reservation stands, which is the
        safe side. Whoever reads this ledger waits.

        Args:
            entry_id: what ``enter`` returned.
            outcome: how it ended.
            spent: what it used; None when nobody knows, which lets the reservation stand.
            latency_seconds: how long it took.
            error_code: the error's code, when it failed.
            request_id: the provider's own name for it.
        """
        values: dict[str, object] = {
            "outcome": outcome.value, "error_code": error_code, "request_id": request_id,
            "latency_milliseconds": round(latency_seconds * 1000),
        }  # fmt: skip
        if spent is not None:
            values |= _spent_columns(spent) | {"reserved_tokens": 0, "reserved_billionths": 0}
        written = self._committer.post(_settle, _Settling(entry_id, values))
        self._unwritten.add(written)
        written.add_done_callback(self._on_written)

    async def enter_cached(self, call: PlannedCall) -> None:
        """Enter a call that a cache answered, which used nothing."""
        row = self._row(uuid.uuid4().hex, call, Outcome.CACHED)
        await self._committer.submit_to(_enter, _Entering(row, call, ()))

    async def totals(
        self,
        *,
        owner: str | None = None,
        saga_id: str | None = None,
        since: datetime | None = None,
    ) -> Totals:
        """Sum the calls of an owner, of a saga, since a moment; of everybody by default."""
        async with self._read() as connection:
            return await connection.run_sync(sum_calls, matching(owner, saga_id, since))

    async def breakdown(
        self,
        by: SpendKey,
        *,
        owner: str | None = None,
        saga_id: str | None = None,
        since: datetime | None = None,
    ) -> dict[str, Totals]:
        """Sum the calls for each provider, model, purpose, owner or saga.

        Returns:
            Totals by name; calls without one are under the empty string.
        """
        names = select(entries.c[by]).where(matching(owner, saga_id, since)).distinct()
        found: dict[str, Totals] = {}
        async with self._read() as connection:
            for name in await connection.scalars(names.order_by(entries.c[by])):
                same = entries.c[by].is_not_distinct_from(name)  # NULL is a name too
                chosen = and_(matching(owner, saga_id, since), same)
                found[name or ""] = await connection.run_sync(sum_calls, chosen)
        return found

    async def entries(
        self,
        *,
        owner: str | None = None,
        saga_id: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> tuple[LedgerEntry, ...]:
        """Return the calls of an owner, of a saga, since a moment; the newest first."""
        statement = (
            select(entries)
            .where(matching(owner, saga_id, since))
            .order_by(entries.c.started_at.desc(), entries.c.id)
            .limit(limit)
        )
        async with self._read() as connection:
            rows = (await connection.execute(statement)).mappings()
            return tuple(_entry(row) for row in rows)

    def _on_written(self, written: "asyncio.Future[object]") -> None:
        self._unwritten.discard(written)
        if not written.cancelled() and written.exception() is not None:
            _log.warning("A call's end could not be entered; its reservation stands.")

    @asynccontextmanager
    async def _read(self) -> AsyncGenerator[AsyncConnection]:
        """Open a connection that sees everything this process has settled."""
        if self._unwritten:
            await asyncio.wait(set(self._unwritten))
        async with self._database.read() as connection:
            yield connection

    def _row(self, entry_id: str, call: PlannedCall, outcome: Outcome) -> dict[str, object]:
        return {
            "id": entry_id, "started_at": self._clock.now(), "outcome": outcome.value,
            "provider": call.provider, "model": call.model, "purpose": call.purpose,
            "owner": call.owner, "saga_id": call.saga_id, "currency": call.currency,
            "input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0,
            "reserved_tokens": 0, "reserved_billionths": 0,
        }  # fmt: skip


def _enter(connection: Connection, items: Sequence[_Entering]) -> list[Exception | None]:
    """Enter the calls that the budgets allow, one after another."""
    outcomes: list[Exception | None] = []
    for item in items:
        try:
            for budget in item.budgets:
                require_room(connection, budget, item.call)
        except BudgetExceededError as error:
            outcomes.append(error)
            continue
        connection.execute(insert(entries), [item.row])
        outcomes.append(None)
    return outcomes


def _settle(connection: Connection, items: Sequence[_Settling]) -> list[Exception | None]:
    for item in items:
        connection.execute(update(entries).where(entries.c.id == item.entry_id), item.values)
    return [None] * len(items)


def _entry(it: RowMapping) -> LedgerEntry:
    cost, latency = it["cost_billionths"], it["latency_milliseconds"]
    spent = Spent(
        it["input_tokens"], it["output_tokens"], it["cached_tokens"], it["reasoning_tokens"],
        None if cost is None else Decimal(cost) / BILLION, it["currency"],
    )  # fmt: skip
    return LedgerEntry(
        it["id"], it["started_at"], it["provider"], it["model"], it["purpose"], it["owner"],
        it["saga_id"], Outcome(it["outcome"]), it["error_code"], spent,
        None if latency is None else latency / 1000, it["request_id"],
    )  # fmt: skip


def _spent_columns(spent: Spent) -> dict[str, object]:
    columns: dict[str, object] = {
        "input_tokens": spent.input_tokens, "output_tokens": spent.output_tokens,
        "cached_tokens": spent.cached_tokens, "reasoning_tokens": spent.reasoning_tokens,
    }  # fmt: skip
    if spent.cost is not None:
        columns |= {"cost_billionths": billionths(spent.cost), "currency": spent.currency}
    return columns
