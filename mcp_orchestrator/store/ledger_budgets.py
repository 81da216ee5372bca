"""Budgets of model calls, and whether another call fits into one."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, text

from mcp_orchestrator.errors import BudgetExceededError
from mcp_orchestrator.store.ledger_totals import matching, sum_calls

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('ledger'), hashtext(:key))")


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


def require_room(connection: Connection, budget: Budget, call: PlannedCall) -> None:
    """Check, within the transaction that enters the call, that a budget allows it.

    Raises:
        BudgetExceededError: it does not.
    """
    if connection.dialect.name != "sqlite":  # SQLite has one writer at a time anyway
        connection.execute(_LOCK, {"key": f"{budget.owner}|{budget.saga_id}"})
    found = sum_calls(connection, matching(budget.owner, budget.saga_id, budget.since))
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
