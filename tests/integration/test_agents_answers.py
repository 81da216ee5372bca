"""Good answers of every protocol, over real HTTP: what is sent and what the caller gets."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from pydantic import SecretStr

from mcp_orchestrator.agents import (
    DEEPSEEK_FLASH,
    Citation,
    DeepSeekModel,
    Message,
    ModelRequest,
    PerplexityModel,
    ProviderHttp,
    SearchOptions,
    Usage,
    deepseek,
    perplexity,
)
from mcp_orchestrator.agents.failures import Account
from tests.services.provider_server import (
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

ASK = ModelRequest((Message("system", "Be brief."), Message("user", "hello")), max_tokens=99)
SOURCES = (
    Citation("A", "https://example.org/a", "about a", "2026-11-01"),
    Citation("B", "https://example.org/b", "about b", None),
)


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with provider_server() as running:
        yield running


def connect(server: ProviderServer, account: Account) -> ProviderHttp:
    key = SecretStr("key-123456")
    return ProviderHttp(account, base_url=server.base_url, clock=SkippingClock(), api_key=key)


@pytest.fixture
async def to_deepseek(server: ProviderServer) -> AsyncIterator[ProviderHttp]:
    async with connect(server, deepseek.ACCOUNT) as http:
        yield http


@pytest.fixture
async def to_perplexity(server: ProviderServer) -> AsyncIterator[ProviderHttp]:
    async with connect(server, perplexity.ACCOUNT) as http:
        yield http


def a_deepseek(http: ProviderHttp, *, vendor: bool = True) -> DeepSeekModel:
    return DeepSeekModel(
        http, clock=SkippingClock(), vendor_fields=vendor, prices=DEEPSEEK_FLASH
    )  # fmt: skip


async def test_deepseek_sends_what_is_documented(
    server: ProviderServer, to_deepseek: ProviderHttp
) -> None:
    server.queue(reply(chat_completion("hi", reasoning="hm")))
    request = ModelRequest(
        ASK.messages, max_tokens=99, temperature=0.5, thinking=True, effort="xhigh",
        stop=("END",), owner="ada@example.org", seed=7,
    )  # fmt: skip
    answer = await a_deepseek(to_deepseek).ask(request)

    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", "/chat/completions")
    assert sent.headers["authorization"] == "Bearer key-123456"
    user = sent.body.pop("user_id")
    assert isinstance(user, str)
    assert "ada" not in user
    assert sent.body == {
        "model": "deepseek-flash", "max_tokens": 99, "stop": ["END"],
        "messages": [{"role": "system", "content": "Be brief."},
                     {"role": "user", "content": "hello"}],
        "thinking": {"type": "enabled"}, "reasoning_effort": "max",
    }  # fmt: skip
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("hi", "hm", "stop")
    assert (answer.provider, answer.model, answer.request_id) == (
        "deepseek", "deepseek-flash", "chat-1",
    )  # fmt: skip
    cost = (8 * Decimal(1) + 4 * Decimal("0.02") + 34 * Decimal(4)) / 1_000_000
    assert answer.usage == Usage(12, 34, 4, 5, cost, "CNY")


async def test_other_servers_get_nothing_of_deepseeks_own(
    server: ProviderServer, to_deepseek: ProviderHttp
) -> None:
    request = ModelRequest(
        ASK.messages, temperature=0.5, thinking=True, effort="high", owner="ada", seed=7
    )
    await DeepSeekModel(to_deepseek, clock=SkippingClock(), model="deepseek-coder").ask(request)
    assert server.requests[0].body.keys() == {
        "model", "messages", "max_tokens", "temperature", "seed",
    }  # fmt: skip
    assert server.requests[0].body["model"] == "deepseek-coder", "another server may well have it"


async def test_deepseek_streams_through_padding_and_reports_in_words(
    server: ProviderServer, to_deepseek: ProviderHttp
) -> None:
    text = "def f():\n    return 1\n"
    server.queue(events(*chat_chunks(text, reasoning="let me think")))
    told: list[str] = []

    async def on_progress(words: str) -> None:
        told.append(words)

    answer = await a_deepseek(to_deepseek).ask(ASK, on_progress=on_progress)
    assert (answer.text, answer.reasoning) == (text, "let me think ")
    assert answer.usage.output_tokens == 34
    assert server.requests[0].body["stream_options"] == {"include_usage": True}
    assert told == ["deepseek is thinking: 0 characters so far"], "once a second at most"


async def test_a_server_that_does_not_stream_is_understood(
    server: ProviderServer, to_deepseek: ProviderHttp
) -> None:
    server.queue(reply(chat_completion("whole")))

    async def on_progress(words: str) -> None: ...

    assert (await a_deepseek(to_deepseek).ask(ASK, on_progress=on_progress)).text == "whole"


async def test_thoughts_in_the_text_are_taken_out(
    server: ProviderServer, to_deepseek: ProviderHttp
) -> None:
    server.queue(reply(chat_completion("<think>\nhm\n</think>\n\nhi")))
    answer = await a_deepseek(to_deepseek, vendor=False).ask(ASK)
    assert (answer.text, answer.reasoning) == ("hi", "hm")


async def test_json_mode_says_the_word_and_asks_again_for_blanks(
    server: ProviderServer, to_deepseek: ProviderHttp
) -> None:
    server.queue(reply(chat_completion("  \n ")), reply(chat_completion('{"a": 1}')))
    request = ModelRequest((Message("user", "hello"),), json_object=True)
    answer = await a_deepseek(to_deepseek).ask(request)
    assert answer.text == '{"a": 1}'
    assert answer.usage.output_tokens == 68, "both attempts are paid for"
    assert server.count() == 2
    assert server.requests[0].body["response_format"] == {"type": "json_object"}
    assert "JSON" in server.requests[0].prompt


async def test_fill_in_the_middle(server: ProviderServer, to_deepseek: ProviderHttp) -> None:
    body = chat_completion("")
    server.queue(reply(body | {"choices": [{"text": "a + b", "finish_reason": "stop"}]}))
    answer = await a_deepseek(to_deepseek).complete("def f(a, b): return ", "\n", max_tokens=9999)
    assert answer.text == "a + b"
    assert server.requests[0].path == "/beta/completions"
    assert server.requests[0].body == {
        "model": "deepseek-flash", "prompt": "def f(a, b): return ", "suffix": "\n",
        "max_tokens": 4096,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "thinking"), [("deepseek-chat", "disabled"), ("deepseek-reasoner", "enabled")]
)
async def test_withdrawn_names_are_translated_with_a_warning(
    server: ProviderServer,
    to_deepseek: ProviderHttp,
    old: str,
    thinking: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = DeepSeekModel(to_deepseek, clock=SkippingClock(), model=old, vendor_fields=True)
    await model.ask(ASK)
    assert server.requests[0].body["model"] == "deepseek-flash"
    assert server.requests[0].body["thinking"] == {"type": thinking}
    assert "withdrawn" in caplog.text
    assert "DEEPSEEK_MODEL" in caplog.text


async def test_checks_cost_nothing(
    server: ProviderServer, to_deepseek: ProviderHttp, to_perplexity: ProviderHttp
) -> None:
    assert "(listed)" in await a_deepseek(to_deepseek).check()
    alias = DeepSeekModel(
        to_deepseek, clock=SkippingClock(), model="deepseek-v4-flash", vendor_fields=True
    )
    assert "(an alias)" in await alias.check()
    server.queue(raw(b"{}", status=404), raw(b"{}", status=404))
    assert "lists no models" in await a_deepseek(to_deepseek).check()
    assert "perplexity answers" in await a_perplexity(to_perplexity).check()
    assert server.count("POST") == 0


def a_perplexity(http: ProviderHttp, protocol: perplexity.Protocol = "agent") -> PerplexityModel:
    return PerplexityModel(http, clock=SkippingClock(), protocol=protocol)


async def test_the_agent_api_gets_what_is_documented(
    server: ProviderServer, to_perplexity: ProviderHttp
) -> None:
    server.queue(reply(agent_run("found")))
    options = SearchOptions("high", ("python.org",), "month", "01/01/2026")
    request = ModelRequest(
        ASK.messages, max_tokens=99, search=options, effort="medium", temperature=1.0, seed=1
    )
    answer = await a_perplexity(to_perplexity).ask(request)

    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", "/v1/responses")
    assert sent.body == {
        "input": "hello", "instructions": "Be brief.", "max_output_tokens": 99,
        "effort": "medium",
        "tools": [{
            "type": "web_search", "search_context_size": "high",
            "filters": {"search_domain_filter": ["python.org"], "search_recency_filter": "month",
                        "search_after_date_filter": "01/01/2026"},
        }],
    }  # fmt: skip
    assert answer.text == "found"
    assert answer.citations == SOURCES[:1], "what the text points at, with what was found there"
    assert answer.usage == Usage(100, 50, 0, 0, Decimal("0.008"), "USD")
    assert (answer.model, answer.request_id) == ("some/model", "resp_1")


async def test_a_long_run_goes_to_the_background_and_is_polled(
    server: ProviderServer, to_perplexity: ProviderHttp
) -> None:
    states = ("queued", "in_progress", "in_progress", "completed")
    server.queue(*(reply(agent_run("found", status=state)) for state in states))
    told: list[str] = []

    async def on_progress(words: str) -> None:
        told.append(words)

    request = ModelRequest(
        (Message("user", "a"), Message("assistant", "b"), Message("user", "c")), effort="xhigh"
    )
    answer = await a_perplexity(to_perplexity).ask(request, on_progress=on_progress)
    assert answer.text == "found"
    assert server.requests[0].body["background"] is True
    assert [turn["role"] for turn in server.requests[0].body["input"]] == [  # type: ignore[union-attr]
        "user", "assistant", "user",
    ]  # fmt: skip
    assert [it.path for it in server.requests[1:]] == ["/v1/responses/resp_1"] * 3
    assert told[0] == "perplexity run is queued for 0 s; 0 searches so far"
    assert "in progress" in told[-1]


async def test_sonar_is_the_second_protocol(
    server: ProviderServer, to_perplexity: ProviderHttp
) -> None:
    server.queue(reply(sonar_completion("found")))
    request = ModelRequest(ASK.messages, search=SearchOptions("low", recency="day"))
    answer = await a_perplexity(to_perplexity, "sonar").ask(request)
    (sent,) = server.requests
    assert sent.path == "/chat/completions"
    assert sent.body["model"] == "sonar-pro"
    assert sent.body["web_search_options"] == {"search_context_size": "low"}
    assert sent.body["search_recency_filter"] == "day"
    assert answer.citations == SOURCES[:1]
    assert answer.usage == Usage(10, 20, 0, 3, Decimal("0.008"), "USD")


async def test_search_without_a_model(server: ProviderServer, to_perplexity: ProviderHttp) -> None:
    server.queue(reply({"results": sonar_completion("")["search_results"], "id": "s"}))
    found = await a_perplexity(to_perplexity).search("a", SearchOptions(max_results=3))
    assert (found.citations, found.request_id) == (SOURCES[:1], "s")
    assert server.requests[0].path == "/search"
    assert server.requests[0].body == {"query": "a", "max_results": 3}
