"""What a loop has spent, and whether it may spend more (pure).

Spending is counted from recorded replies and runs, so that a loop that goes on after a crash
arrives at the same sums and the same decisions.
"""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from mcp_orchestrator.agents import ModelReply
from mcp_orchestrator.codeloop.problem import Budget


class Spend(BaseModel):
    """Sums over one loop."""

    model_config = ConfigDict(frozen=True)

    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: dict[str, Decimal] = {}
    test_runs: int = 0
    seconds: float = 0.0

    def with_reply(self, reply: ModelReply) -> "Spend":
        """Add one model call."""
        cost = dict(self.cost)
        usage = reply.usage
        if usage.cost is not None and usage.currency is not None:
            cost[usage.currency] = cost.get(usage.currency, Decimal(0)) + usage.cost
        return self.model_copy(
            update={
                "model_calls": self.model_calls + 1,
                "input_tokens": self.input_tokens + usage.input_tokens,
                "output_tokens": self.output_tokens + usage.output_tokens,
                "cost": cost,
                "seconds": self.seconds + reply.latency_seconds,
            }
        )

    def with_run(self, seconds: float) -> "Spend":
        """Add one test run."""
        return self.with_runs(1, seconds)

    def with_runs(self, count: int, seconds: float) -> "Spend":
        """Add several test runs, which took so long in all."""
        return self.model_copy(
            update={"test_runs": self.test_runs + count, "seconds": self.seconds + seconds}
        )

    def exhausted(self, budget: Budget) -> str | None:
        """Say which limit is reached, or return None while another call is allowed."""
        if self.model_calls >= budget.model_calls:
            return f"the budget of {budget.model_calls} model calls is spent"
        if self.input_tokens + self.output_tokens >= budget.tokens:
            return f"the budget of {budget.tokens} tokens is spent"
        for currency, most in budget.money.items():
            if self.cost.get(currency, Decimal(0)) >= most:
                return f"the budget of {most} {currency} is spent"
        if self.seconds >= budget.seconds:
            return f"the budget of {budget.seconds:g} seconds is spent"
        return None

    def calls_left(self, budget: Budget) -> int:
        """Return how many model calls may still be made."""
        return 0 if self.exhausted(budget) else budget.model_calls - self.model_calls
