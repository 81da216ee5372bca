"""The parts of the model providers that have neither input nor output."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_orchestrator.agents import (
    DEEPSEEK_FLASH,
    EFFORTS,
    Citation,
    Message,
    ModelReply,
    ModelRequest,
    PeakHours,
    Prices,
    SearchOptions,
    Usage,
    peak_windows,
)
from mcp_orchestrator.agents.breaker import Circuit, CircuitBreaker
from mcp_orchestrator.agents.failures import error_text, parse_padded_json
from mcp_orchestrator.agents.redaction import redact
from mcp_orchestrator.agents.retries import RetryPolicy, retry_after
from mcp_orchestrator.errors import ConfigurationError, InvalidInputError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
texts = st.text(max_size=20)
maybe_text = st.none() | texts
counts = st.integers(0, 10**6)

requests = st.builds(
    ModelRequest,
    messages=st.lists(
        st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), min_size=1
    ).map(tuple),
    max_tokens=st.integers(1, 10**6),
    temperature=st.none() | st.floats(0, 2),
    seed=st.none() | st.integers(0, 2**31),
    thinking=st.none() | st.booleans(),
    effort=st.none() | st.sampled_from(EFFORTS),
    json_object=st.booleans(),
    stop=st.lists(texts).map(tuple),
    search=st.none()
    | st.builds(
        SearchOptions,
        context_size=st.sampled_from(["low", "medium", "high"]),
        domains=st.lists(texts).map(tuple),
    ),
    owner=maybe_text,
    saga_id=maybe_text,
    purpose=texts,
)
replies = st.builds(
    ModelReply,
    text=texts,
    reasoning=texts,
    citations=st.lists(st.builds(Citation, texts, texts, texts, maybe_text)).map(tuple),
    usage=st.builds(
        Usage,
        counts,
        counts,
        counts,
        counts,
        st.none() | st.decimals(0, 1000, allow_nan=False, places=9),
        st.none() | st.just("CNY"),
    ),
    provider=texts,
    model=texts,
    latency_seconds=st.floats(0, 1000),
    request_id=maybe_text,
    finish_reason=texts,
)


@given(requests)
def test_requests_survive_json(request: ModelRequest) -> None:
    assert ModelRequest.from_json(request.to_json()) == request


@given(replies)
def test_replies_survive_json(reply: ModelReply) -> None:
    assert ModelReply.from_json(reply.to_json()) == reply


def test_stored_data_that_is_no_reply_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not a model reply: text"):
        ModelReply.from_json({"reasoning": ""})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": ()}, "no messages"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": 3.0}, "temperature is 3.0"),
        ({"effort": "enormous"}, "fast, low, medium, high, xhigh"),
    ],
)
def test_requests_that_no_model_would_take(change: dict[str, object], words: str) -> None:
    good = ModelRequest((Message("user", "hello"),))
    with pytest.raises(InvalidInputError, match=words):
        replace(good, **change)  # type: ignore[arg-type]


@given(
    failures=st.integers(0, 5),
    throttles=st.integers(0, 50),
    waited=st.floats(0, 200),
    asked=st.none() | st.floats(0, 200),
    chance=st.floats(0, 1),
)
def test_retries_keep_their_promises(
    failures: int, throttles: int, waited: float, asked: float | None, chance: float
) -> None:
    policy = RetryPolicy(attempts=3, patience=120)
    wait = policy.wait(
        failures=failures, throttles=throttles, waited=waited, asked=asked, chance=chance
    )
    if failures >= 3:
        assert wait is None
    if wait is not None:
        assert 0 <= waited + wait <= 120
        assert wait >= (asked or 0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        (None, None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


def test_the_breaker_opens_probes_once_and_closes() -> None:
    breaker = CircuitBreaker(threshold=2, cooldown=10)
    for _ in range(2):
        assert breaker.admit(0) is None
        breaker.failed(0)
    assert breaker.state(1) is Circuit.OPEN
    assert breaker.admit(4) == 6
    assert breaker.admit(10) is None, "one probe"
    assert breaker.admit(10) is not None, "not two"
    breaker.abandoned()
    assert breaker.admit(10) is None, "a cancelled probe makes room for another"
    breaker.failed(10)
    assert breaker.state(11) is Circuit.OPEN, "one failed probe opens it again"
    assert breaker.admit(20) is None
    breaker.succeeded()
    assert breaker.state(20) is Circuit.CLOSED


@given(st.lists(st.sampled_from(["", "  ", "\t", ": keep-alive", ":"])))
def test_padding_is_skipped(padding: list[str]) -> None:
    assert parse_padded_json("\n".join([*padding, '{"a": "\\n:b"}'])) == {"a": "\n:b"}
    assert parse_padded_json("\n".join(padding)) is None


@given(st.text())
def test_any_body_is_a_json_object_or_a_value_error(body: str) -> None:
    with suppress(ValueError):
        assert isinstance(parse_padded_json(body), dict | None)
    assert len(error_text(body)) <= 301


def test_what_no_database_stores_is_taken_out() -> None:
    body = '{"a\\u0000": ["x\\u0000y\\ud800", {"b": "\\u00e9"}]}'
    assert parse_padded_json(body) == {"a": ["xy?", {"b": "é"}]}


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ValueError, match="nested"):
        parse_padded_json('{"a":' * 100_000)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "no such model", "code": 400}}', "no such model"),
        ('{"error": "no"}', "no"),
        ('{"message": "no"}', "no"),
        ('{"detail": [{"msg": "x"}]}', '{"detail": [{"msg": "x"}]}'),
        ("<html>\n Bad   Gateway</html>", "<html> Bad Gateway</html>"),
        ("", ""),
    ],
)
def test_the_providers_own_words_are_found(body: str, words: str) -> None:
    assert error_text(body) == words


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdef123456",
        "Incorrect API key provided: sk-abcdefghijkl",
        "key pplx-0123456789abcdef is revoked",
        "your api key: ****cdef123456 is invalid",
        "the secret is s3cr3t-abcdef123456",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    cleaned = redact(text, "s3cr3t-abcdef123456", None)
    assert "[secret]" in cleaned
    assert "cdef" not in cleaned


def test_prices_charge_cached_tokens_less() -> None:
    prices = Prices("CNY", Decimal(1), Decimal("0.02"), Decimal(4))
    cost = prices.cost(input_tokens=1_000_000, cached_tokens=500_000, output_tokens=100_000)
    assert cost == Decimal("0.5") + Decimal("0.01") + Decimal("0.4")


@pytest.mark.parametrize(
    ("moment", "factor"),
    [
        ("2026-11-20T00:59:59+00:00", 1),
        ("2026-11-20T01:00:00+00:00", 2),
        ("2026-11-20T03:59:59+00:00", 2),
        ("2026-11-20T04:00:00+00:00", 1),
        ("2026-11-20T17:30:00+08:00", 2),
        ("2026-11-21T02:00:00+00:00", 1),
    ],
    ids=["before", "begins", "lasts", "over", "Beijing", "Saturday"],
)
def test_peak_hours_cost_double(moment: str, factor: int) -> None:
    prices = DEEPSEEK_FLASH.at(datetime.fromisoformat(moment))
    spent = prices.cost(input_tokens=2_000_000, cached_tokens=1_000_000, output_tokens=1_000_000)
    assert spent == factor * Decimal("5.02")


def test_peak_hours_may_pass_midnight_and_may_be_none() -> None:
    night = PeakHours(peak_windows("22:00-02:00"), weekdays_only=False)
    hours = [datetime(2026, 11, 21, hour, tzinfo=UTC) for hour in (21, 22, 1, 2)]
    assert [night.hold(hour) for hour in hours] == [False, True, True, False]
    assert peak_windows("") == ()
    with pytest.raises(ConfigurationError, match="no hours"):
        peak_windows("nine to five")
