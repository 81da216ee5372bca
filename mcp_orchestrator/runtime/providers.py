"""The models that the settings name: connection, limits, ledger, budgets and cache around each."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal

from pydantic import SecretStr

from mcp_orchestrator.agents import (
    Allowance,
    AnswerCache,
    BudgetRules,
    CachedModel,
    CacheSettings,
    CallLimits,
    Circuit,
    DeepSeekModel,
    FileLimits,
    LedgeredModel,
    LimitSettings,
    Message,
    Model,
    ModelReply,
    ModelRequest,
    PeakHours,
    PerplexityModel,
    Prices,
    ProviderHttp,
    ProviderMetrics,
    SearchOptions,
    SharedLimits,
    Timeouts,
    peak_windows,
    player,
    recorder,
)
from mcp_orchestrator.agents.deepseek import ACCOUNT as DEEPSEEK
from mcp_orchestrator.agents.deepseek import OTHER_ACCOUNT as OPENAI_COMPATIBLE
from mcp_orchestrator.agents.failures import Account
from mcp_orchestrator.agents.perplexity import ACCOUNT as PERPLEXITY
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.ledger import Ledger
from mcp_orchestrator.telemetry.tracing import Tracing

#: Search the web without a model, on an owner's account.
SearchCall = Callable[[str, SearchOptions, str | None], Awaitable[ModelReply]]
#: Write what belongs between two texts, in so many tokens at most, on an owner's account.
CompleteCall = Callable[[str, str, int, str | None], Awaitable[ModelReply]]


@dataclass(frozen=True)
class Providers:
    """The configured models and their other calls; None where there is no key."""

    perplexity: Model | None
    deepseek: Model | None
    search: SearchCall | None = None
    complete: CompleteCall | None = None
    #: Where the breakers stand, by provider.
    circuits: Mapping[str, Callable[[], Circuit]] = field(
        default_factory=dict[str, Callable[[], Circuit]]
    )

    @property
    def reasoner(self) -> Model | None:
        """Return Perplexity, or the model for code where it has no key."""
        return self.perplexity or self.deepseek


class ProviderFactory:
    """Builds models from the settings.

    Args:
        settings: which providers, and within which bounds.
        database: for limits and answers that processes share.
        committer: the process's writer.
        ledger: where every call is entered.
        clock: the source of time.
        stack: closes the connections.
        metrics: counts what is asked and what it costs.
        tracing: records calls.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        committer: GroupCommitter,
        ledger: Ledger,
        clock: Clock,
        stack: AsyncExitStack,
        metrics: ProviderMetrics,
        tracing: Tracing,
    ) -> None:
        self._settings = settings
        self._database = database
        self._committer = committer
        self._ledger = ledger
        self._clock = clock
        self._stack = stack
        self._metrics = metrics
        self._tracing = tracing
        self._rules = _budget_rules(settings)
        self._circuits: dict[str, Callable[[], Circuit]] = {}

    async def build(self) -> Providers:
        """Build the models that are configured.

        Raises:
            ConfigurationError: a base URL or a recording is wrong.
        """
        perplexity, search = await self._perplexity()
        deepseek, complete = await self._deepseek()
        return Providers(perplexity, deepseek, search, complete, self._circuits)

    async def _perplexity(self) -> tuple[Model | None, SearchCall | None]:
        settings = self._settings
        if settings.perplexity_api_key is None:
            return None, None
        http = await self._connect(
            PERPLEXITY, settings.perplexity_base_url, settings.perplexity_api_key, needs_key=True
        )
        model = PerplexityModel(
            http,
            clock=self._clock,
            protocol=settings.perplexity_protocol,
            model=settings.perplexity_model,
            effort=settings.perplexity_effort,
        )
        ledgered = self._ledgered(model, None)

        async def search(query: str, options: SearchOptions, owner: str | None) -> ModelReply:
            asked = (Message("user", query),)
            request = ModelRequest(asked, max_tokens=1, purpose="search", owner=owner)
            return await ledgered.enter(request, lambda: model.search(query, options))

        return self._cached(ledgered), search

    async def _deepseek(self) -> tuple[Model | None, CompleteCall | None]:
        settings = self._settings
        if not settings.has_coder:
            return None, None
        vendor = settings.uses_deepseek_itself
        http = await self._connect(
            DEEPSEEK if vendor else OPENAI_COMPATIBLE,
            settings.deepseek_base_url,
            settings.deepseek_api_key,
            needs_key=vendor,
        )
        prices = _deepseek_prices(settings) if vendor else None
        model = DeepSeekModel(http, clock=self._clock, model=settings.deepseek_model, prices=prices)
        ledgered = self._ledgered(model, prices)

        async def complete(
            prefix: str, suffix: str, max_tokens: int, owner: str | None
        ) -> ModelReply:
            given = (Message("user", prefix + suffix),)
            request = ModelRequest(given, max_tokens=max_tokens, purpose="complete", owner=owner)
            return await ledgered.enter(
                request, lambda: model.complete(prefix, suffix, max_tokens=max_tokens)
            )

        return self._cached(ledgered), complete

    async def _connect(
        self, account: Account, base_url: str, key: SecretStr | None, *, needs_key: bool
    ) -> ProviderHttp:
        settings = self._settings
        transport = None
        if settings.replay_providers is not None:
            transport = player(settings.replay_providers)
        elif settings.record_providers is not None:
            secrets = (key.get_secret_value(),) if key is not None else ()
            transport = recorder(settings.record_providers, secrets=secrets)
        http = ProviderHttp(
            account,
            base_url=base_url,
            clock=self._clock,
            api_key=key,
            needs_key=needs_key,
            timeouts=Timeouts(whole=settings.provider_timeout_seconds),
            limits=self._limits(account.provider),
            transport=transport,
            metrics=self._metrics,
        )
        self._circuits[account.provider] = http.circuit
        return await self._stack.enter_async_context(http)

    def _limits(self, provider: str) -> CallLimits:
        """Share limits with every process on the same store; beside a file, in a file."""
        bounds = LimitSettings(
            concurrency=self._settings.provider_concurrency,
            per_minute=self._settings.provider_calls_per_minute,
        )
        if self._database.is_sqlite:
            file = self._settings.data_dir / "limits" / f"{provider}.json"
            return FileLimits(file, self._clock, bounds)
        return SharedLimits(provider, self._database, self._committer, self._clock, bounds)

    def _ledgered(self, model: Model, prices: Prices | None) -> LedgeredModel:
        return LedgeredModel(
            model, self._ledger, clock=self._clock, prices=prices, rules=self._rules,
            metrics=self._metrics, tracing=self._tracing,
        )  # fmt: skip

    def _cached(self, ledgered: LedgeredModel) -> Model:
        settings = self._settings
        if not settings.answer_cache:
            return ledgered
        kept = CacheSettings(
            time_to_live=settings.answer_cache_seconds, most=settings.answer_cache_size
        )
        cache = AnswerCache(self._database, self._committer, self._clock, kept, self._metrics)
        return CachedModel(ledgered, cache, self._ledger)


def _budget_rules(settings: Settings) -> BudgetRules:
    currency = settings.budget_currency

    def allowance(calls: int | None, tokens: int | None, money: Decimal | None) -> Allowance:
        return Allowance(calls, tokens, money, currency if money is not None else None)

    return BudgetRules(
        per_call=allowance(None, settings.budget_call_tokens, settings.budget_call_money),
        per_saga=allowance(
            settings.budget_saga_calls, settings.budget_saga_tokens, settings.budget_saga_money
        ),
        per_owner_and_day=allowance(
            settings.budget_day_calls, settings.budget_day_tokens, settings.budget_day_money
        ),
    )


def _deepseek_prices(settings: Settings) -> Prices:
    return Prices(
        "CNY",
        settings.deepseek_input_price,
        settings.deepseek_cached_price,
        settings.deepseek_output_price,
        PeakHours(peak_windows(settings.deepseek_peak_hours), settings.deepseek_peak_factor),
    )
