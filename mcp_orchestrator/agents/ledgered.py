"""A model whose every call is entered in the ledger first and settled afterwards."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

import anyio
from opentelemetry.trace import SpanKind

from mcp_orchestrator.agents.budgets import BudgetRules
from mcp_orchestrator.agents.metrics import ProviderMetrics
from mcp_orchestrator.agents.model import (
    Begin,
    Model,
    ModelReply,
    ModelRequest,
    Progress,
    RemoteJobs,
)
from mcp_orchestrator.agents.prices import Prices, largest_use
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import AnswerLostError, BudgetExceededError, OrchestratorError
from mcp_orchestrator.store.ledger import Ledger, Outcome, PlannedCall, Spent
from mcp_orchestrator.telemetry.tracing import Tracing


class LedgeredModel:
    """Wraps a model; what the budgets do not allow is never sent.

    Args:
        inner: the model that answers.
        ledger: where calls are entered.
        clock: for latencies and the day of a budget.
        prices: for the most a call may cost; without them money is only counted afterwards.
        rules: what may be used; no limits by default.
        metrics: counts calls, tokens and money; None for nothing.
        tracing: records calls; nothing does if left out.
    """

    def __init__(
        self,
        inner: Model,
        ledger: Ledger,
        *,
        clock: Clock,
        prices: Prices | None = None,
        rules: BudgetRules | None = None,
        metrics: ProviderMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.provider = inner.provider
        self.model = inner.model
        self._inner = inner
        self._ledger = ledger
        self._clock = clock
        self._prices = prices
        self._rules = rules or BudgetRules()
        self._metrics = metrics
        self._tracing = tracing or Tracing()

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_progress: Progress | None = None,
        jobs: RemoteJobs | None = None,
    ) -> ModelReply:
        """Enter the call, ask, settle it.

        A call whose process died while its job went on at the provider's has an entry already,
        and keeps it: the same job is not paid for twice.

        Raises:
            BudgetExceededError: a budget does not allow the call; nothing was sent.
            ProviderError: what the inner model raised; it is in the ledger.
        """
        entered = await self._begin(request)
        told = _ToldJobs(jobs, entered.resumed) if jobs is not None else None
        return await self._finish(
            entered, lambda: self._inner.ask(request, on_progress=on_progress, jobs=told)
        )

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
        return await self._finish(await self._begin(request), ask)

    async def _begin(self, request: ModelRequest) -> "_Entered":
        now = self._clock.now()
        prices = self._prices.at(now) if self._prices is not None else None
        call = planned_call(self._inner, request, prices)
        try:
            self._rules.require_small_enough(call)
            budgets = self._rules.budgets(request, now)
            with anyio.CancelScope(shield=True):  # an entry nobody knows of is never settled
                entry_id = await self._ledger.enter(call, budgets)
                return _Entered(entry_id, request, self._ledger, self._clock.monotonic())
        except BudgetExceededError:
            self._count("over_budget")
            raise
        raise AssertionError("unreachable")  # a shield swallows nothing

    async def _finish(
        self, entered: "_Entered", ask: Callable[[], Awaitable[ModelReply]]
    ) -> ModelReply:
        try:
            reply = await self._traced(entered.request, ask)
        except OrchestratorError as error:
            spent = None if isinstance(error, AnswerLostError) else Spent()
            self._settle(entered, Outcome.FAILED, spent, error_code=error.code)
            raise
        except BaseException:  # cancelled, or a fault of ours: it may have been billed
            self._settle(entered, Outcome.CANCELLED, None)
            raise
        self._settle(entered, Outcome.ANSWERED, _spent(reply), reply=reply)
        return reply

    async def _traced(
        self, request: ModelRequest, ask: Callable[[], Awaitable[ModelReply]]
    ) -> ModelReply:
        asked = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": self.model,
            "saga.id": request.saga_id,
            "enduser.id": request.owner,
            "model.purpose": request.purpose,
        }
        with self._tracing.span(f"chat {self.model}", asked, kind=SpanKind.CLIENT) as span:
            reply = await ask()
            usage = reply.usage
            span.set_attributes(
                {
                    "gen_ai.response.model": reply.model,
                    "gen_ai.usage.input_tokens": usage.input_tokens,
                    "gen_ai.usage.output_tokens": usage.output_tokens,
                }
            )
            return reply

    async def check(self) -> str:
        """Say in one line that the provider answers.

        Raises:
            ProviderError: it does not, and why.
        """
        return await self._inner.check()

    def _settle(
        self,
        entered: "_Entered",
        outcome: Outcome,
        spent: Spent | None,
        *,
        error_code: str | None = None,
        reply: ModelReply | None = None,
    ) -> None:
        latency = self._clock.monotonic() - entered.started
        self._count(outcome.value, reply)
        self._ledger.settle(
            entered.entry_id, outcome, spent, latency_seconds=latency, error_code=error_code,
            request_id=reply.request_id if reply is not None else None,
        )  # fmt: skip

    def _count(self, outcome: str, reply: ModelReply | None = None) -> None:
        if self._metrics is not None:
            self._metrics.settled(self.provider, outcome, reply)


@dataclass
class _Entered:
    """A call whose entry is on disk."""

    entry_id: str
    request: ModelRequest
    ledger: Ledger
    started: float

    async def resumed(self) -> None:
        """Take over the entry that was made when the job was begun, before a crash."""
        if self.request.saga_id is None:
            return
        with anyio.CancelScope(shield=True):
            self.entry_id = await self.ledger.resume(
                self.entry_id, saga_id=self.request.saga_id, purpose=self.request.purpose
            )


class _ToldJobs:
    """Remote jobs that tell when one was known already."""

    def __init__(self, inner: RemoteJobs, on_known: Callable[[], Awaitable[None]]) -> None:
        self._inner = inner
        self._on_known = on_known

    async def once(self, name: str, begin: Begin) -> str:
        """Return the id that is known, or begin the job and keep its id."""
        begun = False

        async def noted() -> str:
            nonlocal begun
            begun = True
            return await begin()

        job_id = await self._inner.once(name, noted)
        if not begun:
            await self._on_known()
        return job_id


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
