"""The models that the settings name, each behind its connection and the ledger."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from mcp_orchestrator.agents import (
    DeepSeekModel,
    LedgeredModel,
    Model,
    PerplexityModel,
    Prices,
    ProviderHttp,
    Timeouts,
)
from mcp_orchestrator.agents.deepseek import ACCOUNT as DEEPSEEK
from mcp_orchestrator.agents.perplexity import ACCOUNT as PERPLEXITY
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.store.ledger import Ledger


@dataclass(frozen=True)
class Providers:
    """The configured models; None where there is no key."""

    perplexity: Model | None
    deepseek: Model | None

    @property
    def reasoner(self) -> Model | None:
        """Return Perplexity, or the model for code where it has no key."""
        return self.perplexity or self.deepseek


async def open_providers(
    settings: Settings, ledger: Ledger, clock: Clock, stack: AsyncExitStack
) -> Providers:
    """Build the clients whose keys are set; their connections close with the stack."""
    return Providers(
        perplexity=await _perplexity(settings, ledger, clock, stack),
        deepseek=await _deepseek(settings, ledger, clock, stack),
    )


async def _perplexity(
    settings: Settings, ledger: Ledger, clock: Clock, stack: AsyncExitStack
) -> Model | None:
    if settings.perplexity_api_key is None:
        return None
    http = ProviderHttp(
        PERPLEXITY,
        base_url=settings.perplexity_base_url,
        clock=clock,
        api_key=settings.perplexity_api_key,
        needs_key=True,
        timeouts=Timeouts(whole=settings.provider_timeout_seconds),
    )
    await stack.enter_async_context(http)
    model = PerplexityModel(
        http,
        clock=clock,
        protocol=settings.perplexity_protocol,
        model=settings.perplexity_model,
        effort=settings.perplexity_effort,
    )
    return LedgeredModel(model, ledger, clock=clock)


async def _deepseek(
    settings: Settings, ledger: Ledger, clock: Clock, stack: AsyncExitStack
) -> Model | None:
    if settings.deepseek_api_key is None:
        return None
    http = ProviderHttp(
        DEEPSEEK,
        base_url=settings.deepseek_base_url,
        clock=clock,
        api_key=settings.deepseek_api_key,
        timeouts=Timeouts(whole=settings.provider_timeout_seconds),
    )
    await stack.enter_async_context(http)
    prices = _deepseek_prices(settings) if http.host.endswith("deepseek.com") else None
    model = DeepSeekModel(http, clock=clock, model=settings.deepseek_model, prices=prices)
    return LedgeredModel(model, ledger, clock=clock, prices=prices)


def _deepseek_prices(settings: Settings) -> Prices:
    return Prices(
        "CNY",
        settings.deepseek_input_price,
        settings.deepseek_cached_price,
        settings.deepseek_output_price,
    )
