"""The ledger: what every model call used and cost, and the budgets that hold it in check.

A call is entered before it is made, with the most it may cost, in the same transaction that
checks the budgets: two calls can therefore not both take the last of one. Settling replaces the
reservation by what was really used. Where nobody knows (cancelled, killed in mid-call, a provider
that tells no usage) the reservation stands, because the call may well have been billed.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    and_,
    case,
    func,
    insert,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import BudgetExceededError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.ledger import ledger_entries as entries

_BILLION = Decimal(1_000_000_000)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('ledger'), hashtext(:key))")


#: What spending can be broken down by.
SpendKey = Literal["provider", "model", "purpose", "owner", "saga_id"]


class Outcome(StrEnum):
    """How a call ended, as far as is known."""

    PENDING = "pending"
    ANSWERED = "answered"
    CACHED = "cached"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class PlannedCall:
    """A call about to be made, and the most it may use."""

    provider: str
    model: str
    purpose: str = ""
    owner: str | None = None
    saga_id: str | None = None
    tokens: int = 0
    cost: Decimal = Decimal(0)
    currency: str | None = None


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
class Budget:
    """A limit on what some calls may use together; None is no limit.

    Args:
        name: what it is called in an error, such as ``"this loop"``.
        owner: counts this owner's calls only.
        saga_id: counts this saga's calls only.
        since: counts calls since then only.
        calls: how many calls.
        tokens: how many tokens, read and written.
        money: how much of ``currency``; calls in other currencies do not count.
        currency: ISO 4217.
    """

    name: str
    owner: str | None = None
    saga_id: str | None = None
    since: datetime | None = None
    calls: int | None = None
    tokens: int | None = None
    money: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Totals:
    """Sums over some calls. ``calls`` leaves out what a cache answered."""

    calls: int = 0
    cached_calls: int = 0
    failed_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    reserved_tokens: int = 0
    cost: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    reserved: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])

    @property
    def tokens(self) -> int:
        """Tokens read and written, and those that may have been."""
        return self.input_tokens + self.output_tokens + self.reserved_tokens


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

    async def enter(self, call: PlannedCall, budgets: Sequence[Budget] = ()) -> str:
        """Enter a call that is about to be made and return the entry's id.

        Raises:
            BudgetExceededError: the call might pass one of the budgets; nothing was entered.
        """
        entry_id = uuid.uuid4().hex
        row = self._row(entry_id, call, Outcome.PENDING) | {
            "reserved_tokens": call.tokens,
            "reserved_billionths": _billionths(call.cost),
        }

        async def unit(connection: AsyncConnection) -> None:
            for budget in budgets:
                await self._require_room(connection, budget, call)
            await connection.execute(insert(entries).values(row))

        await self._committer.submit(unit)
        return entry_id

    async def settle(
        self,
        entry_id: str,
        outcome: Outcome,
        spent: Spent | None,
        *,
        latency_seconds: float,
        error_code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Record how a call ended.

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
        statement = update(entries).where(entries.c.id == entry_id).values(values)
        await self._committer.submit(lambda connection: connection.execute(statement))

    async def enter_cached(self, call: PlannedCall) -> None:
        """Enter a call that a cache answered, which used nothing."""
        row = self._row(uuid.uuid4().hex, call, Outcome.CACHED)
        await self._committer.submit(
            lambda connection: connection.execute(insert(entries).values(row))
        )

    async def totals(
        self,
        *,
        owner: str | None = None,
        saga_id: str | None = None,
        since: datetime | None = None,
    ) -> Totals:
        """Sum the calls of an owner, of a saga, since a moment; of everybody by default."""
        async with self._database.read() as connection:
            return await _sum(connection, _matching(owner, saga_id, since))

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
        names = select(entries.c[by]).where(_matching(owner, saga_id, since)).distinct()
        found: dict[str, Totals] = {}
        async with self._database.read() as connection:
            for name in await connection.scalars(names.order_by(entries.c[by])):
                same = entries.c[by].is_not_distinct_from(name)  # NULL is a name too
                matching = and_(_matching(owner, saga_id, since), same)
                found[name or ""] = await _sum(connection, matching)
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
            .where(_matching(owner, saga_id, since))
            .order_by(entries.c.started_at.desc(), entries.c.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).mappings()
            return tuple(_entry(row) for row in rows)

    def _row(self, entry_id: str, call: PlannedCall, outcome: Outcome) -> dict[str, object]:
        return {
            "id": entry_id, "started_at": self._clock.now(), "outcome": outcome.value,
            "provider": call.provider, "model": call.model, "purpose": call.purpose,
            "owner": call.owner, "saga_id": call.saga_id, "currency": call.currency,
            "input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0,
            "reserved_tokens": 0, "reserved_billionths": 0,
        }  # fmt: skip

    async def _require_room(
        self, connection: AsyncConnection, budget: Budget, call: PlannedCall
    ) -> None:
        if not self._database.is_sqlite:  # on SQLite there is one writer at a time anyway
            key = f"{budget.owner}|{budget.saga_id}"
            await connection.execute(_LOCK, {"key": key})
        found = await _sum(connection, _matching(budget.owner, budget.saga_id, budget.since))
        if budget.calls is not None and found.calls + 1 > budget.calls:
            raise _exceeded(budget, f"{found.calls} of {budget.calls} calls are made")
        if budget.tokens is not None and found.tokens + call.tokens > budget.tokens:
            raise _exceeded(
                budget,
                f"{found.tokens} of {budget.tokens} tokens are used and this call may take "
                f"{call.tokens}",
            )
        if budget.money is None or budget.currency is None:
            return
        spent = found.cost.get(budget.currency, Decimal(0))
        spent += found.reserved.get(budget.currency, Decimal(0))
        more = call.cost if call.currency == budget.currency else Decimal(0)
        if spent + more > budget.money or spent >= budget.money:
            raise _exceeded(
                budget,
                f"{spent.normalize():f} of {budget.money} {budget.currency} are spent and this "
                f"call may cost {more.normalize():f}",
            )


def _exceeded(budget: Budget, why: str) -> BudgetExceededError:
    return BudgetExceededError(
        f"The budget of {budget.name} does not allow another model call: {why}.",
        remedy="Raise the budget, or ask for less.",
    )


def _matching(
    owner: str | None, saga_id: str | None, since: datetime | None
) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if owner is not None:
        conditions.append(entries.c.owner == owner)
    if saga_id is not None:
        conditions.append(entries.c.saga_id == saga_id)
    if since is not None:
        conditions.append(entries.c.started_at >= since)
    return and_(*conditions)


async def _sum(connection: AsyncConnection, condition: ColumnElement[bool]) -> Totals:
    cached, failed = (
        func.sum(case((entries.c.outcome == outcome.value, 1), else_=0))
        for outcome in (Outcome.CACHED, Outcome.FAILED)
    )
    sums = (
        func.count(), cached, failed,
        *(func.coalesce(func.sum(entries.c[name]), 0) for name in _SUMMED),
    )  # fmt: skip
    statement = select(entries.c.currency, *sums).where(condition).group_by(entries.c.currency)
    numbers = [0] * (3 + len(_SUMMED))
    cost: dict[str, Decimal] = {}
    reserved: dict[str, Decimal] = {}
    for currency, *values in await connection.execute(statement):
        whole = [int(value) for value in values]
        numbers = [old + new for old, new in zip(numbers, whole, strict=True)]
        if currency is not None:
            cost[currency] = Decimal(whole[-2]) / _BILLION
            reserved[currency] = Decimal(whole[-1]) / _BILLION
    count, cached_calls, failed_calls, *tokens = numbers
    return Totals(
        count - cached_calls, cached_calls, failed_calls, tokens[0], tokens[1], tokens[2],
        tokens[3], tokens[4], cost, reserved,
    )  # fmt: skip


_SUMMED = (
    "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "reserved_tokens",
    "cost_billionths", "reserved_billionths",
)  # fmt: skip


def _entry(it: RowMapping) -> LedgerEntry:
    cost, latency = it["cost_billionths"], it["latency_milliseconds"]
    spent = Spent(
        it["input_tokens"], it["output_tokens"], it["cached_tokens"], it["reasoning_tokens"],
        None if cost is None else Decimal(cost) / _BILLION, it["currency"],
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
        columns |= {"cost_billionths": _billionths(spent.cost), "currency": spent.currency}
    return columns


def _billionths(money: Decimal) -> int:
    return int((money * _BILLION).to_integral_value(ROUND_CEILING))
