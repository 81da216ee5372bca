"""Same request, same answer, asked once: on every database and across processes."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from mcp_orchestrator.agents import (
    CachedModel,
    DeepSeekModel,
    LedgeredModel,
    Message,
    ModelRequest,
    ProviderHttp,
    deepseek,
)
from mcp_orchestrator.agents.cache import AnswerCache, CacheSettings
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import ProviderRejectedError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.ledger import Ledger, Outcome
from tests.services.provider_server import (
    Answer,
    ProviderServer,
    chat_completion,
    provider_server,
    raw,
    reply,
)
from tests.services.skipping_clock import SkippingClock

ASK = ModelRequest((Message("user", "hello"),), owner="ada", purpose="a", saga_id="s1")


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with provider_server() as running:
        yield running


@pytest.fixture
async def committer(database: Database) -> AsyncIterator[GroupCommitter]:
    async with GroupCommitter(database) as running:
        yield running


@pytest.fixture
async def inner(server: ProviderServer) -> AsyncIterator[DeepSeekModel]:
    clock = SystemClock()
    async with ProviderHttp(deepseek.ACCOUNT, base_url=server.base_url, clock=clock) as http:
        yield DeepSeekModel(http, clock=clock)


@pytest.fixture
def cache(database: Database, committer: GroupCommitter) -> AnswerCache:
    return AnswerCache(database, committer, SystemClock(), CacheSettings(poll=0.05, lease=2))


async def test_the_same_request_is_answered_from_the_cache_and_the_ledger_knows(
    server: ProviderServer, inner: DeepSeekModel, cache: AnswerCache,
    database: Database, committer: GroupCommitter,
) -> None:  # fmt: skip
    ledger = Ledger(database, committer, SystemClock())
    paid = LedgeredModel(inner, ledger, clock=SystemClock())
    model = CachedModel(paid, cache, ledger)
    first = await model.ask(ASK)
    second = await model.ask(replace(ASK, purpose="b", saga_id="s2"))
    assert (first.from_cache, second.from_cache) == (False, True)
    assert replace(second, from_cache=False) == first
    assert server.count() == 1
    assert [it.outcome for it in await ledger.entries(saga_id="s2")] == [Outcome.CACHED]
    totals = await ledger.totals()
    assert (totals.calls, totals.cached_calls) == (1, 1)
    assert cache.statistics.hit_rate == 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "bob"},
        {"owner": None},
        {"seed": 2},
        {"max_tokens": 3},
        {"fresh": True},
        {"messages": (Message("user", "hello!"),)},
    ],
    ids=str,
)
async def test_another_request_is_asked(
    server: ProviderServer, inner: DeepSeekModel, cache: AnswerCache, change: dict[str, object]
) -> None:
    model = CachedModel(inner, cache)
    await model.ask(ASK)
    assert not (await model.ask(replace(ASK, **change))).from_cache  # type: ignore[arg-type]
    assert server.count() == 2


async def test_answers_expire_and_the_oldest_make_room(
    server: ProviderServer, inner: DeepSeekModel, database: Database, committer: GroupCommitter
) -> None:
    clock = SkippingClock()
    settings = CacheSettings(time_to_live=3600, most=2, lease=10**9)  # a lease nobody renews
    model = CachedModel(inner, AnswerCache(database, committer, clock, settings))

    async def asked(seed: int) -> bool:
        clock.seconds += 1
        return not (await model.ask(replace(ASK, seed=seed))).from_cache

    assert [await asked(seed) for seed in (1, 1, 2, 3)] == [True, False, True, True]
    assert not await asked(3)
    assert await asked(1), "it had to make room"
    clock.seconds += 4 * 10**9
    assert await asked(1), "it had expired"


async def test_forgetting(server: ProviderServer, inner: DeepSeekModel, cache: AnswerCache) -> None:
    model = CachedModel(inner, cache)
    for owner in ("ada", "bob"):
        await model.ask(replace(ASK, owner=owner))
    assert await cache.forget(owner="ada") == 1
    assert not (await model.ask(ASK)).from_cache
    assert (await model.ask(replace(ASK, owner="bob"))).from_cache


async def test_those_who_waited_share_a_failure_and_the_next_one_asks_again(
    server: ProviderServer, inner: DeepSeekModel, cache: AnswerCache
) -> None:
    release = anyio.Event()
    server.queue(Answer(400, (b"{}",), wait=release.wait))
    model, failures = CachedModel(inner, cache), list[int | None]()

    async def ask() -> None:
        try:
            await model.ask(ASK)
        except ProviderRejectedError as error:
            failures.append(error.status)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
        await server.asked.wait()
        release.set()
    assert failures == [400] * 20
    assert server.count() == 1
    assert (await model.ask(ASK)).text == "ok"


async def test_when_the_one_who_asks_is_cancelled_another_takes_over(
    server: ProviderServer, inner: DeepSeekModel, cache: AnswerCache
) -> None:
    server.queue(Answer(wait=anyio.sleep_forever))
    model, texts = CachedModel(inner, cache), list[str]()

    async def follow() -> None:
        texts.append((await model.ask(ASK)).text)

    async with anyio.create_task_group() as followers, anyio.create_task_group() as leader:
        leader.start_soon(model.ask, ASK)
        await server.asked.wait()
        for _ in range(3):
            followers.start_soon(follow)
        leader.cancel_scope.cancel()
    assert texts == ["ok"] * 3
    assert server.count() == 2


PROCESS = """
import json, sys
import anyio
from mcp_orchestrator.agents import (
    CachedModel, DeepSeekModel, Message, ModelRequest, ProviderHttp, deepseek)
from mcp_orchestrator.agents.cache import AnswerCache, CacheSettings
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine

async def main(database_url, base_url, count):
    clock, database, texts = SystemClock(), open_engine(database_url), []
    async with GroupCommitter(database) as committer:
        async with ProviderHttp(deepseek.ACCOUNT, base_url=base_url, clock=clock) as http:
            cache = AnswerCache(database, committer, clock, CacheSettings(poll=0.05, lease=1))
            model = CachedModel(DeepSeekModel(http, clock=clock), cache)
            async def ask():
                texts.append((await model.ask(ModelRequest((Message("user", "x"),)))).text)
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(ask)
    await database.close()
    print(json.dumps(texts))

anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


async def test_a_hundred_requests_in_four_processes_are_one_call(
    server: ProviderServer, database_url: str, database: Database
) -> None:
    answer = reply(chat_completion("once"))
    answer.wait = lambda: anyio.sleep(0.5)
    server.queue(answer)
    texts: list[str] = []

    async def run() -> None:
        command = [sys.executable, "-c", PROCESS, database_url, server.base_url, "25"]
        texts.extend(json.loads((await anyio.run_process(command)).stdout))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(run)
    assert texts == ["once"] * 100
    assert server.count() == 1


async def test_when_the_process_that_asks_is_killed_another_takes_over(
    server: ProviderServer, inner: DeepSeekModel, cache: AnswerCache, database_url: str
) -> None:
    server.queue(Answer(wait=anyio.sleep_forever))
    command = [sys.executable, "-c", PROCESS, database_url, server.base_url, "1"]
    asks_the_same = ModelRequest((Message("user", "x"),))
    async with await anyio.open_process(command, stdout=subprocess.DEVNULL) as process:
        await server.asked.wait()
        process.kill()
    assert (await CachedModel(inner, cache).ask(asks_the_same)).text == "ok"
    assert server.count() == 2


async def test_failed_answers_are_not_kept(
    server: ProviderServer, inner: DeepSeekModel, cache: AnswerCache
) -> None:
    server.queue(raw(b"{}", status=402))
    model = CachedModel(inner, cache)
    with pytest.raises(ProviderRejectedError):
        await model.ask(ASK)
    assert not (await model.ask(ASK)).from_cache
