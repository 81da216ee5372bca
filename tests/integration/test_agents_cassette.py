"""Provider traffic recorded from a real server and replayed without one."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from mcp_orchestrator.agents import (
    DeepSeekModel,
    Message,
    ModelReply,
    ModelRequest,
    PerplexityModel,
    ProviderHttp,
    deepseek,
    perplexity,
)
from mcp_orchestrator.agents.http_cassette import player, recorder
from mcp_orchestrator.errors import (
    ConfigurationError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from tests.services.process import free_port
from tests.services.provider_server import (
    Answer,
    agent_run,
    chat_chunks,
    chat_completion,
    events,
    provider_server,
    raw,
    reply,
)
from tests.services.skipping_clock import SkippingClock

KEY = "sekret-0123456789abcdef"
ASK = ModelRequest((Message("user", "hello"),))


async def session(transport: httpx.AsyncBaseTransport, base_url: str) -> list[object]:
    """Ask in every way there is; return what came, errors included."""
    clock, came = SkippingClock(), list[object]()
    account = deepseek.ACCOUNT
    async with ProviderHttp(
        account, base_url=base_url, clock=clock, api_key=SecretStr(KEY), transport=transport
    ) as http:
        chat = DeepSeekModel(http, clock=clock)
        agent = PerplexityModel(http, clock=clock)

        async def on_progress(words: str) -> None: ...

        for ask in (
            lambda: chat.ask(ASK),
            lambda: chat.ask(ASK),
            lambda: chat.ask(ASK, on_progress=on_progress),
            lambda: agent.ask(replace(ASK, effort="xhigh")),
            lambda: chat.ask(replace(ASK, seed=1)),
            lambda: chat.ask(replace(ASK, seed=2)),
            lambda: chat.ask(replace(ASK, seed=3)),
        ):
            try:
                came.append(_without_latency(await ask()))
            except (ProviderRejectedError, ProviderUnavailableError) as error:
                came.append(str(error))
    return came


def _without_latency(answer: ModelReply) -> ModelReply:
    return replace(answer, latency_seconds=0.0)


async def test_a_session_is_replayed_bit_for_bit_without_its_server(tmp_path: Path) -> None:
    cassette = tmp_path / "session.jsonl"
    async with provider_server() as server:
        server.queue(
            reply(chat_completion("first")),
            reply(chat_completion("second")),
            events(*chat_chunks("streamed\n", reasoning="well")),
            reply(agent_run(status="queued")),
            reply(agent_run("found")),
            reply({"error": {"message": f"no; your key is {KEY}"}}, 402),
            raw(b'{"cut', cut=True), raw(b"{}", status=429), reply(chat_completion("at last")),
            *[Answer(drop=True)] * 3,
        )  # fmt: skip
        recorded = await session(recorder(cassette, secrets=(KEY,)), server.base_url)
        asked = len(server.requests)
    assert asked == 12
    assert KEY not in cassette.read_text()
    assert "uthorization" not in cassette.read_text()
    replayed = await session(player(cassette), f"http://127.0.0.1:{free_port()}")
    assert replayed == recorded
    assert [it.text for it in recorded if isinstance(it, ModelReply)] == [
        "first", "second", "streamed\n", "found", "at last",
    ]  # fmt: skip
    assert len(recorded) == 7


async def test_a_request_that_was_not_recorded_is_refused(tmp_path: Path) -> None:
    cassette = tmp_path / "empty.jsonl"
    cassette.write_text("")
    clock = SkippingClock()
    async with ProviderHttp(
        perplexity.ACCOUNT, base_url="http://host", clock=clock, transport=player(cassette)
    ) as http:
        with pytest.raises(ProviderRejectedError, match="no further answer to this POST"):
            await PerplexityModel(http, clock=clock).ask(ASK)
    assert clock.slept == []


@pytest.mark.parametrize("content", [None, b"hello\n", b"\xff", b'{"method": 1}\n'])
def test_what_is_not_a_recording(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a recording"):
        player(tmp_path / "x")
