"""What one call, one saga and one owner in a day may use."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from mcp_orchestrator.agents.model import ModelRequest
from mcp_orchestrator.errors import BudgetExceededError
from mcp_orchestrator.store.ledger import Budget, PlannedCall


@dataclass(frozen=True)
class Allowance:
    """How much may be used; None is no limit.

    Args:
        calls: model calls.
        tokens: tokens, read and written.
        money: how much of ``currency``.
        currency: ISO 4217; calls in other currencies do not count.
    """

    calls: int | None = None
    tokens: int | None = None
    money: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True)
class BudgetRules:
    """The allowances that hold for every call.

    Args:
        per_call: for one call; its ``calls`` means nothing.
        per_saga: for all calls of one saga.
        per_owner_and_day: for all calls of one owner since midnight UTC; a call without an owner,
            as of whoever uses a server alone, draws on what everybody has used.
    """

    per_call: Allowance = field(default_factory=Allowance)
    per_saga: Allowance = field(default_factory=Allowance)
    per_owner_and_day: Allowance = field(default_factory=Allowance)

    def require_small_enough(self, call: PlannedCall) -> None:
        """Refuse a call that is too large by itself.

        Raises:
            BudgetExceededError: it may use more than one call is allowed.
        """
        limit = self.per_call
        too_long = limit.tokens is not None and call.tokens > limit.tokens
        too_dear = (
            limit.money is not None
            and limit.currency == call.currency
            and call.cost > limit.money
        )  # fmt: skip
        if too_long or too_dear:
            raise BudgetExceededError(
                f"This call may take {call.tokens} tokens and cost {call.cost.normalize():f} "
                f"{call.currency or ''}, more than one call is allowed.",
                remedy="Lower max_tokens, shorten the prompt, or raise the budget per call.",
            )

    def budgets(self, request: ModelRequest, now: datetime) -> tuple[Budget, ...]:
        """Return the budgets that a request draws on."""
        found: list[Budget] = []
        if request.saga_id is not None and self.per_saga != Allowance():
            name = f"saga {request.saga_id}"
            found.append(_budget(name, self.per_saga, saga_id=request.saga_id))
        if self.per_owner_and_day != Allowance():
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            name = f"{request.owner or 'everybody'} for today (UTC)"
            found.append(_budget(name, self.per_owner_and_day, owner=request.owner, since=midnight))
        return tuple(found)


def _budget(
    name: str, allowance: Allowance, *, owner: str | None = None,
    saga_id: str | None = None, since: datetime | None = None,
) -> Budget:  # fmt: skip
    return Budget(
        name, owner=owner, saga_id=saga_id, since=since, calls=allowance.calls,
        tokens=allowance.tokens, money=allowance.money, currency=allowance.currency,
    )  # fmt: skip
