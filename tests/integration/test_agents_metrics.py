"""What Prometheus and `doctor` see of the providers."""

import urllib.request
from pathlib import Path

import pytest
from anyio import to_thread
from mcp import Client
from prometheus_client import CollectorRegistry

from mcp_orchestrator.agents import (
    DEEPSEEK_FLASH,
    AnswerCache,
    BudgetRules,
    CachedModel,
    DeepSeekModel,
    LedgeredModel,
    Message,
    ModelRequest,
    ProviderHttp,
    ProviderMetrics,
    RetryPolicy,
    deepseek,
)
from mcp_orchestrator.agents.budgets import Allowance
from mcp_orchestrator.errors import BudgetExceededError, ProviderUnavailableError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine, sqlite_url
from mcp_orchestrator.store.ledger import Ledger
from mcp_orchestrator.store.migrations import migrate
from tests.services.orchestrator import call, start_http_server
from tests.services.programmer import PROBLEM, programmer, provider_settings
from tests.services.provider_server import provider_server, raw
from tests.services.skipping_clock import SkippingClock

ASK = ModelRequest((Message("user", "hello"),), owner="ada")


async def test_requests_retries_tokens_money_cache_and_breaker_are_counted(tmp_path: Path) -> None:
    registry, clock = CollectorRegistry(), SkippingClock()
    metrics = ProviderMetrics(registry)

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    database = open_engine(sqlite_url(tmp_path / "ledger.db"))
    await migrate(database)
    async with (
        provider_server() as server,
        GroupCommitter(database) as committer,
        ProviderHttp(
            deepseek.ACCOUNT, base_url=server.base_url, clock=clock, metrics=metrics,
            retries=RetryPolicy(attempts=3),
        ) as http,
    ):  # fmt: skip
        ledger = Ledger(database, committer, clock)
        paid = LedgeredModel(
            DeepSeekModel(http, clock=clock, prices=DEEPSEEK_FLASH), ledger, clock=clock,
            rules=BudgetRules(per_owner_and_day=Allowance(calls=3)), metrics=metrics,
        )  # fmt: skip
        model = CachedModel(paid, AnswerCache(database, committer, clock, metrics=metrics), ledger)
        server.queue(raw(b"{}", status=429), raw(b"{}", status=500))
        for _ in range(3):
            await model.ask(ASK)
        provider = {"provider": "deepseek"}
        found = [
            value("provider_requests_total", **provider, outcome=outcome)
            for outcome in ("answered", "throttled", "failed")
        ]
        assert found == [1, 1, 1]
        assert value("provider_retries_total", **provider, reason="throttled") == 1
        assert value("provider_cache_lookups_total", result="hit") == 2
        named = {**provider, "model": "deepseek-flash"}
        assert value("provider_tokens_total", **named, kind="output") == 34
        assert value("provider_cost_total", **named, currency="CNY") > 0.0001
        assert value("provider_circuit", **provider) == 0

        server.queue(*[raw(b"{}", status=500)] * 6)
        for seed in (1, 2):
            with pytest.raises(ProviderUnavailableError):
                await model.ask(ModelRequest(ASK.messages, owner="ada", seed=seed))
        assert value("provider_circuit", **provider) == 2
        with pytest.raises(BudgetExceededError):
            await model.ask(ModelRequest(ASK.messages, owner="ada", seed=3))
        calls = [
            value("provider_calls_total", **provider, outcome=outcome)
            for outcome in ("answered", "failed", "over_budget")
        ]
        assert calls == [1, 2, 1]
        assert (await ledger.totals()).hit_rate == 2 / 5
    await database.close()


async def test_a_running_server_shows_them(tmp_path: Path) -> None:
    async with provider_server(programmer()) as provider:
        server = start_http_server(tmp_path, settings=provider_settings(provider.base_url))
        try:
            async with Client(server.url("/mcp")) as client:
                await call(client, "codegen_generate", {"problem": PROBLEM})
                health = await call(client, "health", {})
            page = await to_thread.run_sync(
                lambda: urllib.request.urlopen(server.url("/metrics")).read().decode()
            )
        finally:
            server.stop()
    assert 'provider_calls_total{outcome="answered",provider="openai-compatible"} 1.0' in page
    assert 'provider_circuit{provider="openai-compatible"} 0.0' in page
    parts = {part["part"]: part["detail"] for part in health["parts"]}
    assert "circuit closed" in parts["code"]
    assert "1 calls (0 failed), 0 more from the cache (0%)" in parts["spending"]
