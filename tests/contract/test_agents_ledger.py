"""The ledger's promises, on every database, with a model behind real HTTP."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from mcp_orchestrator.agents import (
    DEEPSEEK_FLASH,
    Allowance,
    BudgetRules,
    DeepSeekModel,
    LedgeredModel,
    Message,
    ModelRequest,
    ProviderHttp,
    deepseek,
)
from mcp_orchestrator.errors import BudgetExceededError, ProviderRejectedError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.ledger import Budget, Ledger, Outcome, PlannedCall, Spent
from mcp_orchestrator.store.schema import metadata
from tests.services.provider_server import (
    Answer,
    ProviderServer,
    chat_completion,
    provider_server,
    raw,
    reply,
)
from tests.services.skipping_clock import SkippingClock

ASK = ModelRequest(
    (Message("user", "x" * 30),), max_tokens=100, owner="ada", saga_id="saga-1", purpose="test.1"
)
ANSWER_COST = (8 * Decimal(1) + 4 * Decimal("0.02") + 34 * Decimal(4)) / 1_000_000


@pytest.fixture
async def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture
async def ledger(database: Database, clock: SkippingClock) -> AsyncIterator[Ledger]:
    async with GroupCommitter(database) as committer:
        yield Ledger(database, committer, clock)


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with provider_server() as running:
        yield running


@pytest.fixture
async def http(server: ProviderServer, clock: SkippingClock) -> AsyncIterator[ProviderHttp]:
    async with ProviderHttp(deepseek.ACCOUNT, base_url=server.base_url, clock=clock) as opened:
        yield opened


def ledgered(
    http: ProviderHttp, ledger: Ledger, clock: SkippingClock, rules: BudgetRules | None = None
) -> LedgeredModel:
    model = DeepSeekModel(http, clock=clock, prices=DEEPSEEK_FLASH)
    return LedgeredModel(model, ledger, clock=clock, prices=DEEPSEEK_FLASH, rules=rules)


async def test_an_answered_call_is_entered_with_what_it_used(
    http: ProviderHttp, ledger: Ledger, clock: SkippingClock
) -> None:
    await ledgered(http, ledger, clock).ask(ASK)
    (entry,) = await ledger.entries(saga_id="saga-1")
    assert (entry.provider, entry.model, entry.purpose) == ("deepseek", "deepseek-flash", "test.1")
    assert (entry.owner, entry.saga_id, entry.outcome) == ("ada", "saga-1", Outcome.ANSWERED)
    assert entry.spent == Spent(12, 34, 4, 5, ANSWER_COST, "CNY")
    assert entry.request_id == "chat-1"
    totals = await ledger.totals(owner="ada")
    assert (totals.calls, totals.tokens, totals.cost) == (1, 46, {"CNY": ANSWER_COST})
    assert totals.reserved == {"CNY": 0}
    assert (await ledger.totals(owner="bob")).calls == 0
    assert (await ledger.totals(since=clock.now().replace(year=2027))).calls == 0


async def test_a_refused_call_costs_nothing_and_a_cancelled_one_may_have(
    server: ProviderServer, http: ProviderHttp, ledger: Ledger, clock: SkippingClock
) -> None:
    model = ledgered(http, ledger, clock)
    server.queue(raw(b'{"error": {"message": "no balance"}}', status=402))
    with pytest.raises(ProviderRejectedError):
        await model.ask(ASK)
    server.queue(Answer(wait=anyio.sleep_forever))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.ask, ASK)
        server.asked = anyio.Event()
        await server.asked.wait()
        tasks.cancel_scope.cancel()
    outcomes = {entry.outcome: entry for entry in await ledger.entries()}
    assert outcomes.keys() == {Outcome.FAILED, Outcome.CANCELLED}
    assert outcomes[Outcome.FAILED].error_code == "provider_rejected"
    totals = await ledger.totals()
    assert (totals.calls, totals.failed_calls) == (2, 1)
    assert totals.reserved_tokens == 118, "10 + 8 read, 100 written"
    assert totals.reserved["CNY"] == DEEPSEEK_FLASH.cost(
        input_tokens=18, cached_tokens=0, output_tokens=100
    )


async def test_where_the_provider_tells_no_usage_the_reservation_stands(
    server: ProviderServer, http: ProviderHttp, ledger: Ledger, clock: SkippingClock
) -> None:
    server.queue(reply(chat_completion("ok") | {"usage": None}))
    answer = await ledgered(http, ledger, clock).ask(ASK)
    assert not answer.usage.is_known
    assert (await ledger.totals()).reserved_tokens == 118


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (BudgetRules(per_call=Allowance(tokens=117)), "more than one call is allowed"),
        (BudgetRules(per_call=Allowance(money=Decimal("0.0001"), currency="CNY")), "0.000418 CNY"),
        (BudgetRules(per_saga=Allowance(calls=1)), "saga saga-1 .* 1 of 1 calls"),
        (BudgetRules(per_saga=Allowance(tokens=163)), "46 of 163 tokens .* 118"),
        (
            BudgetRules(per_owner_and_day=Allowance(money=Decimal("0.0005"), currency="CNY")),
            r"ada for today .* 0.00014408 of 0.0005 CNY",
        ),
    ],
)
async def test_what_a_budget_does_not_allow_is_never_sent(
    server: ProviderServer, http: ProviderHttp, ledger: Ledger, clock: SkippingClock,
    rules: BudgetRules, words: str,
) -> None:  # fmt: skip
    await ledgered(http, ledger, clock).ask(ASK)
    with pytest.raises(BudgetExceededError, match=words):
        await ledgered(http, ledger, clock, rules).ask(ASK)
    assert server.count() == 1
    assert (await ledger.totals()).calls == 1


async def test_a_new_day_has_a_new_budget(
    http: ProviderHttp, ledger: Ledger, clock: SkippingClock
) -> None:
    model = ledgered(http, ledger, clock, BudgetRules(per_owner_and_day=Allowance(calls=1)))
    await model.ask(ASK)
    with pytest.raises(BudgetExceededError):
        await model.ask(ASK)
    with pytest.raises(BudgetExceededError, match="everybody for today"):
        await model.ask(replace(ASK, owner=None))
    clock.seconds += 86_400
    await model.ask(ASK)


async def test_concurrent_calls_cannot_both_take_the_last_of_a_budget(
    database: Database, clock: SkippingClock
) -> None:
    budget = Budget("this saga", saga_id="s", calls=7)
    call = PlannedCall("p", "m", saga_id="s")
    entered: list[str] = []
    async with GroupCommitter(database) as one, GroupCommitter(database) as other:
        ledgers = [Ledger(database, committer, clock) for committer in (one, other)]

        async def enter(number: int) -> None:
            try:
                entered.append(await ledgers[number % 2].enter(call, [budget]))
            except BudgetExceededError:
                return

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(enter, number)
    assert len(entered) == 7


async def test_other_calls_of_a_provider_are_entered_too(
    server: ProviderServer, http: ProviderHttp, ledger: Ledger, clock: SkippingClock
) -> None:
    inner = DeepSeekModel(http, clock=clock, prices=DEEPSEEK_FLASH)
    model = ledgered(http, ledger, clock, BudgetRules(per_saga=Allowance(calls=1)))
    await model.enter(ASK, lambda: inner.complete("def f(", "):"))
    assert (await ledger.totals()).cost == {"CNY": ANSWER_COST}
    with pytest.raises(BudgetExceededError):
        await model.enter(ASK, lambda: inner.complete("def f(", "):"))
    assert server.count() == 1


async def test_spending_is_broken_down(
    http: ProviderHttp, ledger: Ledger, clock: SkippingClock
) -> None:
    model = ledgered(http, ledger, clock)
    for owner in ("ada", "bob", "ada", None):
        await model.ask(replace(ASK, owner=owner))
    by_owner = await ledger.breakdown("owner")
    assert {name: totals.calls for name, totals in by_owner.items()} == {"ada": 2, "bob": 1, "": 1}
    assert by_owner["ada"].cost == {"CNY": 2 * ANSWER_COST}
    assert (await ledger.breakdown("model", owner="bob")).keys() == {"deepseek-flash"}


async def test_the_migration_makes_the_tables_that_the_code_describes(database: Database) -> None:
    ours = MetaData(naming_convention=metadata.naming_convention)
    for name in ("ledger_entries", "provider_limits", "provider_slots", "model_answers",
                 "sampling_requests"):  # fmt: skip
        metadata.tables[name].to_metadata(ours)

    def is_ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name in ours.tables

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"include_name": is_ours})
        return compare_metadata(context, ours)

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_what_a_cache_answers_is_counted_apart(ledger: Ledger) -> None:
    await ledger.enter_cached(PlannedCall("p", "m", owner="ada", tokens=5))
    totals = await ledger.totals(owner="ada")
    assert (totals.calls, totals.cached_calls, totals.tokens) == (0, 1, 0)
