"""A model whose every call is entered in the ledger first and settled afterwards."""

from collections.abc import Awaitable, Callable
from decimal import Decimal

import anyio

from mcp_orchestrator.agents.budgets import BudgetRules
from mcp_orchestrator.agents.model import Model, ModelReply, ModelRequest, Progress
from mcp_orchestrator.agents.prices import Prices, largest_use
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import AnswerLostError, OrchestratorError
from mcp_orchestrator.store.ledger import Ledger, Outcome, PlannedCall, Spent


class LedgeredModel:
    """Wraps a model; what the budgets do not allow is never sent.

    Args:
        inner: the model that answers.
        ledger: where calls are entered.
        clock: for latencies and the day of a budget.
        prices: for the most a call may cost; without them money is only counted afterwards.
        rules: what may be used; no limits by default.
    """

    def __init__(
        self,
        inner: Model,
        ledger: Ledger,
        *,
        clock: Clock,
        prices: Prices | None = None,
        rules: BudgetRules | None = None,
    ) -> None:
        self.provider = inner.provider
        self.model = inner.model
        self._inner = inner
        self._ledger = ledger
        self._clock = clock
        self._prices = prices
        self._rules = rules or BudgetRules()

    async def ask(
        self, request: ModelRequest, *, on_progress: Progress | None = None
    ) -> ModelReply:
        """Enter the call, ask, settle it.

        Raises:
            BudgetExceededError: a budget does not allow the call; nothing was sent.
            ProviderError: what the inner model raised; it is in the ledger.
        """
        return await self.enter(request, lambda: self._inner.ask(request, on_progress=on_progress))

    async def enter(
        self, request: ModelRequest, ask: Callable[[], Awaitable[ModelReply]]
    ) -> ModelReply:
        """Make another call of the same provider, such as a search, under the same budgets.

        Args:
            request: what the call amounts to, for the ledger and the budgets.
            ask: makes the call.

        Raises:
            BudgetExceededError: a budget does not allow the call; nothing was sent.
            ProviderError: what the call raised; it is in the ledger.
        """
        call = planned_call(self._inner, request, self._prices)
        self._rules.require_small_enough(call)
        entry_id = await self._enter(call, request)
        started = self._clock.monotonic()
        try:
            reply = await ask()
        except OrchestratorError as error:
            spent = None if isinstance(error, AnswerLostError) else Spent()
            await self._settle(entry_id, Outcome.FAILED, spent, started, error_code=error.code)
            raise
        except BaseException:  # cancelled, or a fault of ours: it may have been billed
            await self._settle(entry_id, Outcome.CANCELLED, None, started)
            raise
        await self._settle(entry_id, Outcome.ANSWERED, _spent(reply), started, reply=reply)
        return reply

    async def check(self) -> str:
        """Say in one line that the provider answers.

        Raises:
            ProviderError: it does not, and why.
        """
        return await self._inner.check()

    async def _enter(self, call: PlannedCall, request: ModelRequest) -> str:
        budgets = self._rules.budgets(request, self._clock.now())
        with anyio.CancelScope(shield=True):  # an entry nobody knows of would never be settled
            return await self._ledger.enter(call, budgets)
        raise AssertionError("unreachable")  # a shield swallows nothing

    async def _settle(
        self,
        entry_id: str,
        outcome: Outcome,
        spent: Spent | None,
        started: float,
        *,
        error_code: str | None = None,
        reply: ModelReply | None = None,
    ) -> None:
        latency = self._clock.monotonic() - started
        with anyio.CancelScope(shield=True):
            await self._ledger.settle(
                entry_id, outcome, spent, latency_seconds=latency, error_code=error_code,
                request_id=reply.request_id if reply is not None else None,
            )  # fmt: skip


def planned_call(model: Model, request: ModelRequest, prices: Prices | None) -> PlannedCall:
    """Return a request as the ledger sees it before it is sent."""
    read, written = largest_use(request)
    cost = Decimal(0)
    if prices is not None:
        cost = prices.cost(input_tokens=read, cached_tokens=0, output_tokens=written)
    return PlannedCall(
        model.provider, model.model, request.purpose, request.owner, request.saga_id,
        tokens=read + written, cost=cost, currency=prices.currency if prices else None,
    )  # fmt: skip


def _spent(reply: ModelReply) -> Spent | None:
    usage = reply.usage
    if not usage.is_known:
        return None
    return Spent(
        usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens,
        usage.cost, usage.currency,
    )  # fmt: skip
