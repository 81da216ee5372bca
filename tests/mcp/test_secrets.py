"""The providers' keys are in nothing that is written, answered or counted."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
from mcp import Client

from tests.services.orchestrator import call, http_server, refusal, text_of, until_ended
from tests.services.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.services.programmer import PROBLEM, TESTS, programmer
from tests.services.provider_server import Answer, Received, provider_server, reply

#: They look like nothing that a pattern would know.
KEYS = ("plain words for DeepSeek 4711", "plain-words-for-Perplexity-4712")


def blabbing() -> tuple[dict[str, bool], "Blabber"]:
    """Return a provider that repeats the key it was sent, while it is told to be angry."""
    mood = {"angry": False}
    return mood, Blabber(mood)


class Blabber:
    """Answers well, or with an error that quotes the request's own headers."""

    def __init__(self, mood: dict[str, bool]) -> None:
        self._mood = mood
        self._good = programmer()
        self.heard: set[str] = set()

    def __call__(self, received: Received) -> Answer:
        key = received.headers.get("authorization", "")
        self.heard.add(key)
        if not self._mood["angry"]:
            return self._good(received)
        words = f"Invalid key: {key} ({key.removeprefix('Bearer ')})"
        return reply({"error": {"message": words, "type": "auth"}}, 401, X_Echo=key)


async def test_keys_are_in_no_file_no_answer_no_metric_and_no_trace(tmp_path: Path) -> None:
    mood, provider_side = blabbing()
    cassette = tmp_path / "traffic.jsonl"
    async with provider_server(provider_side) as provider, receiving_traces() as traces:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": traces.endpoint,
            "DEEPSEEK_API_KEY": KEYS[0], "DEEPSEEK_BASE_URL": provider.base_url,
            "PERPLEXITY_API_KEY": KEYS[1], "PERPLEXITY_BASE_URL": provider.base_url,
            "MCP_ORCHESTRATOR_RECORD_PROVIDERS": str(cassette),
            "MCP_ORCHESTRATOR_LOG_LEVEL": "DEBUG",
        }  # fmt: skip
        answered: list[str] = []
        loop = {"problem": PROBLEM, "tests": TESTS, "candidates": 2}
        with http_server(tmp_path, **settings) as server:
            async with Client(server.url("/mcp")) as client:
                started = await call(client, "loop_start", loop)
                good = await until_ended(client, started["loop_id"])
                mood["angry"] = True
                started = await call(client, "loop_start", loop)
                bad = await until_ended(client, started["loop_id"])
                assert (good["solved"], bad["state"]) == (True, "failed")
                answered += [json.dumps(good), json.dumps(bad)]
                for tool, arguments in (
                    ("reasoning_ask", {"question": "Why?"}),
                    ("reasoning_search", {"query": "x"}),
                    ("codegen_generate", {"problem": "x"}),
                    ("codegen_complete", {"prefix": "x"}),
                ):
                    answered.append(await refusal(client, tool, arguments))
                answered.append(text_of(await client.call_tool("health", {})))
                for part in ("", "/audit"):
                    read = await client.read_resource(f"saga://{bad['loop_id']}{part}")
                    answered += [getattr(it, "text", "") for it in read.contents]
            async with httpx.AsyncClient() as browser:
                answered.append((await browser.get(server.url("/metrics"))).text)
        assert provider_side.heard == {f"Bearer {key}" for key in KEYS}, "they were sent"
    assert "401" in answered[1], "the errors were told"
    assert "Invalid key" in cassette.read_text()
    sent = [repr(span) for span in traces.spans]
    assert any("401" in span for span in sent), "the server has ended: all of them are here"
    written = await anyio.to_thread.run_sync(_everything_below, tmp_path)
    assert {"orchestrator.db", "traffic.jsonl", "server-0.log", "report.md"} <= {*written}
    for key in KEYS:
        assert not [text for text in (*answered, *sent) if key in text]
        assert not [name for name, content in written.items() if key.encode() in content]


@asynccontextmanager
async def receiving_traces() -> AsyncGenerator[OtlpReceiver]:
    with otlp_receiver() as receiver:
        yield receiver


def _everything_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
