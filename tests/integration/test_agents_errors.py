"""Bad answers of every kind in every protocol, over real HTTP.

For each: what the caller gets, how often the provider was asked, what the ledger holds.
"""

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from pydantic import SecretStr

from mcp_orchestrator.agents import (
    DeepSeekModel,
    LedgeredModel,
    Message,
    Model,
    ModelReply,
    ModelRequest,
    PerplexityModel,
    ProviderHttp,
    RetryPolicy,
    Timeouts,
    deepseek,
    perplexity,
)
from mcp_orchestrator.errors import (
    AnswerLostError,
    ConfigurationError,
    ProviderError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine, sqlite_url
from mcp_orchestrator.store.ledger import Ledger, LedgerEntry, Outcome
from mcp_orchestrator.store.migrations import migrate
from tests.services.process import free_port
from tests.services.provider_server import (
    Answer,
    Json,
    ProviderServer,
    agent_run,
    chat_chunks,
    chat_completion,
    events,
    provider_server,
    raw,
    reply,
    sonar_completion,
)
from tests.services.skipping_clock import SkippingClock

ASK = ModelRequest((Message("user", "hello"),), max_tokens=50)
KEY = "secret-key-0123456789"


@dataclass(frozen=True)
class Shape:
    """One protocol: how to ask in it, and a good answer."""

    model: Callable[[ProviderHttp, SkippingClock], Model]
    good: Callable[[], Answer]
    body: Callable[[], Json] | None
    streamed: bool = False
    call: Callable[[Model], Awaitable[ModelReply]] | None = None


def filled_gap() -> Json:
    return chat_completion("") | {"choices": [{"text": "ok", "finish_reason": "stop"}]}


async def fill_the_gap(model: Model) -> ModelReply:
    assert isinstance(model, DeepSeekModel)
    return await model.complete("def f(): return ", "\n")


SHAPES = {
    "deepseek": Shape(
        lambda http, clock: DeepSeekModel(http, clock=clock, vendor_fields=True),
        lambda: reply(chat_completion("ok")),
        lambda: chat_completion("ok"),
    ),
    "deepseek-stream": Shape(
        lambda http, clock: DeepSeekModel(http, clock=clock, vendor_fields=True),
        lambda: events(*chat_chunks("ok")),
        None,
        streamed=True,
    ),
    "complete": Shape(
        lambda http, clock: DeepSeekModel(http, clock=clock, vendor_fields=True),
        lambda: reply(filled_gap()),
        filled_gap,
        call=fill_the_gap,
    ),
    "agent": Shape(
        lambda http, clock: PerplexityModel(http, clock=clock),
        lambda: reply(agent_run("ok")),
        lambda: agent_run("ok"),
    ),
    "sonar": Shape(
        lambda http, clock: PerplexityModel(http, clock=clock, protocol="sonar"),
        lambda: reply(sonar_completion("ok")),
        lambda: sonar_completion("ok"),
    ),
}


@dataclass
class Bench:
    """A server, a model that asks it, and the ledger of what was asked."""

    server: ProviderServer
    inner: Model
    model: LedgeredModel
    ledger: Ledger
    clock: SkippingClock
    shape: Shape

    async def ask(self, request: ModelRequest = ASK) -> ModelReply:
        call = self.shape.call
        if call is not None:
            return await self.model.enter(request, lambda: call(self.inner))
        if not self.shape.streamed:
            return await self.model.ask(request)

        async def on_progress(words: str) -> None: ...

        return await self.model.ask(request, on_progress=on_progress)

    async def entry(self) -> LedgerEntry:
        (entry,) = await self.ledger.entries()
        return entry


@asynccontextmanager
async def bench(
    shape: Shape, folder: Path, *, url: str | None = None, timeouts: Timeouts | None = None
) -> AsyncGenerator[Bench]:
    database = open_engine(sqlite_url(folder / "ledger.db"))
    await migrate(database)
    clock = SkippingClock()
    account = deepseek.ACCOUNT if "chat" in str(shape.body and shape.body()) else perplexity.ACCOUNT
    async with (
        provider_server(lambda _: shape.good()) as server,
        GroupCommitter(database) as committer,
        ProviderHttp(
            account, base_url=url or server.base_url, clock=clock, api_key=SecretStr(KEY),
            timeouts=timeouts, retries=RetryPolicy(attempts=3, patience=60), chance=lambda: 1.0,
        ) as http,
    ):  # fmt: skip
        ledger = Ledger(database, committer, clock)
        inner = shape.model(http, clock)
        model = LedgeredModel(inner, ledger, clock=clock)
        yield Bench(server, inner, model, ledger, clock, shape)
    await database.close()


@pytest.fixture(params=SHAPES)
async def any_bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(SHAPES[request.param], tmp_path) as made:
        yield made


def says_error(status: int) -> Answer:
    words = f"what is wrong; your api key: {KEY}"
    return reply({"error": {"message": words, "type": "some_type"}}, status)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "The request itself is refused"),
        (401, "_API_KEY"),
        (402, "Top up"),
        (403, "permissions"),
        (404, "_BASE_URL"),
        (409, "The request itself is refused"),
        (422, "The request itself is refused"),
        (302, "The request itself is refused"),
    ],
)
async def test_what_is_refused_is_asked_once(any_bench: Bench, status: int, remedy: str) -> None:
    any_bench.server.queue(says_error(status))
    with pytest.raises(ProviderRejectedError) as caught:
        await any_bench.ask()
    assert caught.value.status == status
    assert "what is wrong" in caught.value.message
    assert remedy in caught.value.remedy
    assert KEY not in str(caught.value)
    assert len(any_bench.server.requests) == 1
    entry = await any_bench.entry()
    assert (entry.outcome, entry.error_code) == (Outcome.FAILED, "provider_rejected")
    assert (await any_bench.ledger.totals()).reserved_tokens == 0


@pytest.mark.parametrize(
    ("bad", "asked", "lost"),
    [
        (says_error(500), 3, False),
        (says_error(502), 3, False),
        (says_error(503), 3, False),
        (raw(b"<html>Bad Gateway", status=502), 3, False),
        (Answer(drop=True), 3, True),
        (raw(b'{"id": "x", ', cut=True), 3, True),
        (raw(b"\n\n", b": keep-alive\n\n"), 3, False),
        (raw(b"this is not JSON"), 1, True),
        (raw(b"[1, 2]"), 1, True),
        (reply({"choices": 7, "status": 7}), 1, True),
        (reply({"error": {"message": "overloaded", "code": "overloaded"}, "id": "x",
                "status": "failed"}), None, False),
    ],
    ids=["500", "502", "503", "html", "dropped", "cut", "padding", "text", "array", "shape",
         "error-in-200"],
)  # fmt: skip
async def test_what_may_work_later_is_asked_again_where_that_costs_nothing(
    any_bench: Bench, bad: Answer, asked: int | None, lost: bool
) -> None:
    any_bench.server.queue(*[bad] * 3)
    with pytest.raises(ProviderUnavailableError) as caught:
        await any_bench.ask()
    assert caught.value.remedy
    if asked is not None:
        assert len(any_bench.server.requests) == asked
        assert len(any_bench.clock.slept) == asked - 1
    entry, totals = await any_bench.entry(), await any_bench.ledger.totals()
    assert (entry.outcome, entry.error_code) == (Outcome.FAILED, caught.value.code)
    may_be_billed = isinstance(caught.value, AnswerLostError)
    assert may_be_billed is lost
    assert bool(totals.reserved_tokens) is lost, "what may be billed keeps its reservation"


@pytest.mark.parametrize(
    "bad",
    [says_error(500), Answer(drop=True), raw(b"{", cut=True), raw(b"\n"), says_error(429)],
    ids=["500", "dropped", "cut", "padding", "429"],
)
async def test_a_passing_fault_is_not_seen_by_the_caller(any_bench: Bench, bad: Answer) -> None:
    any_bench.server.queue(bad, bad)
    assert (await any_bench.ask()).text == "ok"
    assert len(any_bench.server.requests) == 3
    entry = await any_bench.entry()
    assert entry.outcome is Outcome.ANSWERED
    assert entry.spent.output_tokens > 0


async def test_being_throttled_takes_patience_and_heeds_retry_after(any_bench: Bench) -> None:
    any_bench.server.queue(*[reply({}, 429, Retry_After="7")] * 6)
    assert (await any_bench.ask()).text == "ok"
    assert len(any_bench.server.requests) == 7, "more often than a failing call"
    assert all(wait >= 7 for wait in any_bench.clock.slept)


async def test_patience_ends(any_bench: Bench) -> None:
    any_bench.server.queue(reply({}, 429, Retry_After="600"))
    with pytest.raises(ProviderUnavailableError, match="Ask again in 600 s"):
        await any_bench.ask()
    assert len(any_bench.server.requests) == 1
    any_bench.server.queue(*[reply({}, 429)] * 100)
    with pytest.raises(ProviderUnavailableError) as caught:
        await any_bench.ask()
    assert caught.value.status == 429
    assert sum(any_bench.clock.slept) <= 60


async def test_padding_before_a_good_answer_is_skipped(any_bench: Bench) -> None:
    good = any_bench.shape.good()
    good.pieces = [b"\n", b": keep-alive\n", b"\n\n", *good.pieces]
    any_bench.server.queue(good)
    assert (await any_bench.ask()).text == "ok"
    assert len(any_bench.server.requests) == 1


@pytest.mark.parametrize("name", ["deepseek", "complete", "agent", "sonar"])
async def test_without_usage_there_is_an_answer_and_the_reservation_stands(
    name: str, tmp_path: Path
) -> None:
    async with bench(SHAPES[name], tmp_path) as made:
        assert made.shape.body is not None
        body = made.shape.body()
        del body["usage"]
        made.server.queue(reply(body))
        answer = await made.ask()
        assert answer.text == "ok"
        assert not answer.usage.is_known
        assert (await made.entry()).spent.input_tokens == 0
        assert (await made.ledger.totals()).reserved_tokens > 50


@pytest.mark.parametrize("name", SHAPES)
async def test_silence_is_not_paid_for_twice(name: str, tmp_path: Path) -> None:
    async with bench(SHAPES[name], tmp_path, timeouts=Timeouts(read=0.1)) as made:
        made.server.queue(Answer(wait=anyio.sleep_forever))
        with pytest.raises(ProviderUnavailableError, match=r"sent nothing for 0\.1 s"):
            await made.ask()
        assert len(made.server.requests) == 1
        with anyio.fail_after(2):
            await made.server.hung_up.wait()


@pytest.mark.parametrize("name", SHAPES)
async def test_endless_padding_ends(name: str, tmp_path: Path) -> None:
    async with bench(SHAPES[name], tmp_path, timeouts=Timeouts(whole=0.3)) as made:
        padding = Answer(
            200, itertools.repeat(b": keep-alive\n\n"), {"Content-Type": "text/event-stream"},
            before_piece=lambda: anyio.sleep(0.01),
        )  # fmt: skip
        made.server.queue(padding)
        with pytest.raises(ProviderUnavailableError, match=r"did not finish within 0\.3 s"):
            await made.ask()
        assert len(made.server.requests) == 1


@pytest.mark.parametrize("name", SHAPES)
async def test_nobody_listens(name: str, tmp_path: Path) -> None:
    async with bench(SHAPES[name], tmp_path, url=f"http://127.0.0.1:{free_port()}") as made:
        with pytest.raises(ProviderUnavailableError, match="cannot be reached at"):
            await made.ask()
        assert len(made.clock.slept) == 2


@pytest.mark.parametrize("name", SHAPES)
async def test_cancelling_hangs_up_and_the_ledger_knows(name: str, tmp_path: Path) -> None:
    async with bench(SHAPES[name], tmp_path) as made:
        made.server.queue(Answer(wait=anyio.sleep_forever))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.ask)
            await made.server.asked.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(1):
            await made.server.hung_up.wait()
        assert (await made.entry()).outcome is Outcome.CANCELLED


@pytest.mark.parametrize("status", [400, 404])
async def test_a_wrong_model_name_is_answered_with_the_right_ones(
    status: int, tmp_path: Path
) -> None:
    words = "The supported API model names are deepseek-flash or deepseek-v4-pro"
    listed: Json = {"data": [{"id": "deepseek-flash"}, {"id": "deepseek-v4-pro"}]}
    wrong = Shape(
        lambda http, clock: DeepSeekModel(http, clock=clock, model="gpt-9"),
        lambda: reply(listed),
        SHAPES["deepseek"].body,
    )
    async with bench(wrong, tmp_path) as made:
        made.server.queue(reply({"error": {"message": words}}, status))
        with pytest.raises(ProviderRejectedError) as caught:
            await made.ask()
        assert caught.value.remedy == (
            "Set DEEPSEEK_MODEL to one of: deepseek-flash, deepseek-v4-pro."
        )
        with pytest.raises(ProviderRejectedError, match="no model 'gpt-9'"):
            await made.model.check()


async def test_blank_json_three_times_is_an_error(tmp_path: Path) -> None:
    async with bench(SHAPES["deepseek"], tmp_path) as made:
        made.server.queue(*[reply(chat_completion("   "))] * 3)
        with pytest.raises(ProviderUnavailableError, match="blanks instead of JSON"):
            await made.ask(ModelRequest(ASK.messages, json_object=True))
        assert len(made.server.requests) == 3
        assert (await made.entry()).outcome is Outcome.FAILED
        assert (await made.ledger.totals()).reserved_tokens > 0, "three answers were billed"


async def test_a_stream_that_breaks_off_is_asked_for_again(tmp_path: Path) -> None:
    async with bench(SHAPES["deepseek-stream"], tmp_path) as made:
        half = chat_chunks("half of it")[:-2]
        made.server.queue(events(*half, done=False), events(*half, done=False, cut=True))
        assert (await made.ask()).text == "ok"
        assert len(made.server.requests) == 3


async def test_a_stream_may_tell_of_an_error(tmp_path: Path) -> None:
    async with bench(SHAPES["deepseek-stream"], tmp_path) as made:
        made.server.queue(events({"error": {"message": "context is too long", "code": 400}}))
        with pytest.raises(ProviderRejectedError, match="context is too long"):
            await made.ask()
        assert len(made.server.requests) == 1


@pytest.mark.parametrize(
    ("change", "expected", "words"),
    [
        ({"status": "failed", "error": {"message": "boom", "code": "server_error"}},
         ProviderUnavailableError, "boom"),
        ({"status": "failed", "error": {"message": "bad", "type": "invalid_request_error"}},
         ProviderRejectedError, "bad"),
        ({"status": "cancelled"}, ProviderUnavailableError, "cancelled"),
        ({"status": "requires_action"}, ProviderUnavailableError, "tool"),
    ],
)  # fmt: skip
async def test_runs_that_end_badly(
    change: Json, expected: type[ProviderError], words: str, tmp_path: Path
) -> None:
    async with bench(SHAPES["agent"], tmp_path) as made:
        made.server.queue(reply(agent_run("x") | change))
        with pytest.raises(expected, match=words):
            await made.ask()
        assert len(made.server.requests) == 1
        assert (await made.entry()).outcome is Outcome.FAILED


async def test_without_a_key_nothing_is_sent() -> None:
    async with provider_server() as server:
        http = ProviderHttp(
            deepseek.ACCOUNT, base_url=server.base_url, clock=SkippingClock(), needs_key=True
        )
        async with http:
            with pytest.raises(ProviderRejectedError, match="Set DEEPSEEK_API_KEY"):
                await DeepSeekModel(http, clock=SkippingClock()).ask(ASK)
        assert server.requests == []


async def test_a_broken_provider_is_left_alone_then_probed(tmp_path: Path) -> None:
    async with bench(SHAPES["deepseek"], tmp_path) as made:
        made.server.queue(*[says_error(500)] * 5)
        with pytest.raises(ProviderUnavailableError):
            await made.ask()
        with pytest.raises(ProviderUnavailableError, match="left alone"):
            await made.ask()
        with pytest.raises(ProviderUnavailableError, match="Ask again in"):
            await made.ask()
        assert len(made.server.requests) == 5
        made.clock.seconds += 60
        assert (await made.ask()).text == "ok"


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://host", "https://user:password@host/v1", "https://host/?key=abc"]
)
def test_base_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DEEPSEEK_BASE_URL") as caught:
        ProviderHttp(deepseek.ACCOUNT, base_url=url, clock=SkippingClock())
    assert "password" not in str(caught.value)


def test_the_key_is_in_no_representation() -> None:
    http = ProviderHttp(
        deepseek.ACCOUNT, base_url="https://host", clock=SkippingClock(), api_key=SecretStr(KEY)
    )
    assert KEY not in f"{http!r} {vars(http)!r}"


@pytest.mark.parametrize(
    ("answer", "expected", "asked", "outcome"),
    [
        (reply({"id": "s", "results": []}), None, 1, Outcome.ANSWERED),
        (reply({"id": "s"}), AnswerLostError, 1, Outcome.FAILED),
        (raw(b"not JSON"), AnswerLostError, 1, Outcome.FAILED),
        (says_error(401), ProviderRejectedError, 1, Outcome.FAILED),
        (says_error(503), ProviderUnavailableError, 3, Outcome.FAILED),
        (reply({}, 429, Retry_After="900"), ProviderUnavailableError, 1, Outcome.FAILED),
    ],
    ids=["nothing-found", "shape", "text", "401", "503", "429"],
)
async def test_searches(
    answer: Answer,
    expected: type[ProviderError] | None,
    asked: int,
    outcome: Outcome,
    tmp_path: Path,
) -> None:
    async with bench(SHAPES["agent"], tmp_path) as made:
        made.server.queue(*[answer] * 3)
        model = made.inner
        assert isinstance(model, PerplexityModel)
        with pytest.raises(expected) if expected else nullcontext():
            await made.model.enter(ASK, lambda: model.search("a"))
        assert made.server.count("POST", "/search") == asked
        assert (await made.entry()).outcome is outcome
