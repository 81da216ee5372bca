"""The single-question tools against providers in their documented shapes."""

from pathlib import Path

from tests.services.orchestrator import Teller, call, connect, refusal
from tests.services.programmer import PROBLEM, RIGHT, fenced, programmer, provider_settings
from tests.services.provider_server import (
    Answer,
    Received,
    agent_run,
    chat_completion,
    provider_server,
    reply,
)


def respond(received: Received) -> Answer:
    """Answer each endpoint in its vendor's shape."""
    if received.path.endswith("/search"):
        found = {
            "title": "A", "url": "https://example.org/a", "snippet": "about a",
            "date": "2026-11-01",
        }  # fmt: skip
        return reply({"id": "search-1", "results": [found]})
    if received.path.endswith("/responses"):
        return reply(agent_run("Because of B."))
    if received.path.endswith("/completions") and "suffix" in received.body:
        choice = {"index": 0, "text": "a + b", "finish_reason": "stop"}
        return reply({"id": "c", "choices": [choice], "usage": {"total_tokens": 3}})
    return reply(chat_completion(fenced(RIGHT)))


async def test_an_answer_comes_with_its_sources_and_its_cost(tmp_path: Path) -> None:
    async with provider_server(respond) as provider:
        settings = provider_settings(provider.base_url, perplexity=True)
        async with connect("stdio-modern", tmp_path, settings) as client:
            progress = Teller()
            answer = await call(
                client, "reasoning_ask", {"question": "Why?", "effort": "low"}, progress=progress
            )
            assert answer["answer"] == "Because of B."
            assert answer["sources"][0] == {"title": "A", "url": "https://example.org/a"}
            assert answer["spent"]["provider"] == "perplexity"
            assert answer["spent"]["cost"] == "0.008 USD"
            assert progress.messages

            found = await call(client, "reasoning_search", {"query": "b", "recency": "week"})
            assert found["results"][0]["snippet"] == "about a"
            assert found["spent"]["provider"] == "perplexity"


async def test_code_is_written_repaired_and_completed(tmp_path: Path) -> None:
    async with provider_server(respond) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("http-handshake", tmp_path, settings) as client:
            written = await call(client, "codegen_generate", {"problem": PROBLEM})
            assert written["code"] == RIGHT
            assert written["tested"] is False
            fixed = await call(client, "codegen_fix", {"code": "x", "failure": "it fails"})
            assert fixed["code"] == RIGHT
            gap = {"prefix": "def add(a, b):\n    return ", "suffix": "\n"}
            assert (await call(client, "codegen_complete", gap))["text"] == "a + b"
            asked = provider.requests[-1]
            assert asked.body["suffix"] == "\n"


async def test_what_no_provider_offers_is_refused_with_the_remedy(tmp_path: Path) -> None:
    async with (
        provider_server(programmer()) as provider,
        connect("stdio-handshake", tmp_path, provider_settings(provider.base_url)) as client,
    ):
        text = await refusal(client, "reasoning_search", {"query": "b"})
    assert "PERPLEXITY_API_KEY" in text
