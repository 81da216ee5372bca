"""Sums over the ledger's entries, by database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, true

from mcp_orchestrator.store.schema.ledger import ledger_entries as entries

#: Money is kept in billionths of its currency.
BILLION = Decimal(1_000_000_000)


class Outcome(StrEnum):
    """How a call ended, as far as is known."""

    PENDING = "pending"
    ANSWERED = "answered"
    CACHED = "cached"
    FAILED = "failed"
    CANCELLED = "cancelled"


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
    def hit_rate(self) -> float:
        """What a cache answered as a share of all calls; 0 before the first."""
        every = self.calls + self.cached_calls
        return self.cached_calls / every if every else 0.0

    @property
    def tokens(self) -> int:
        """Tokens read and written, and those that may have been."""
        return self.input_tokens + self.output_tokens + self.reserved_tokens


def matching(owner: str | None, saga_id: str | None, since: datetime | None) -> ColumnElement[bool]:
    """Return what chooses the calls of an owner, of a saga, since a moment."""
    conditions: list[ColumnElement[bool]] = [true()]
    if owner is not None:
        conditions.append(entries.c.owner == owner)
    if saga_id is not None:
        conditions.append(entries.c.saga_id == saga_id)
    if since is not None:
        conditions.append(entries.c.started_at >= since)
    return and_(*conditions)


def sum_calls(connection: Connection, condition: ColumnElement[bool]) -> Totals:
    """Sum the calls that a condition chooses."""
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
    for currency, *values in connection.execute(statement):
        whole = [int(value) for value in values]
        numbers = [old + new for old, new in zip(numbers, whole, strict=True)]
        if currency is not None:
            cost[currency] = Decimal(whole[-2]) / BILLION
            reserved[currency] = Decimal(whole[-1]) / BILLION
    count, cached_calls, failed_calls, *tokens = numbers
    return Totals(
        count - cached_calls, cached_calls, failed_calls, tokens[0], tokens[1], tokens[2],
        tokens[3], tokens[4], cost, reserved,
    )  # fmt: skip


_SUMMED = (
    "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "reserved_tokens",
    "cost_billionths", "reserved_billionths",
)  # fmt: skip


def billionths(money: Decimal) -> int:
    """Return an amount as it is kept, rounded up."""
    return int((money * BILLION).to_integral_value(ROUND_CEILING))
