"""A client that no longer wants an answer stops what it would cost."""

from pathlib import Path

import anyio
import pytest

from tests.services.orchestrator import Way, connect
from tests.services.programmer import provider_settings
from tests.services.provider_server import (
    Answer,
    ProviderServer,
    Received,
    agent_run,
    provider_server,
    reply,
)


def researching(received: Received) -> Answer:
    """Run for ever, until cancelled."""
    state = "cancelled" if received.path.endswith("/cancel") else "in_progress"
    return reply(agent_run(status=state))


async def until_asked(provider: ProviderServer, method: str, ending: str) -> None:
    while not provider.count(method, ending):
        provider.asked = anyio.Event()
        await provider.asked.wait()


@pytest.mark.parametrize("way", ["stdio-handshake", "stdio-modern", "http-handshake"])
async def test_a_cancelled_question_is_cancelled_at_the_vendors(way: Way, tmp_path: Path) -> None:
    async with provider_server(researching) as provider:
        settings = provider_settings(provider.base_url, perplexity=True)
        async with connect(way, tmp_path, settings) as client:
            question = {"question": "Why?", "effort": "xhigh"}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "reasoning_ask", question)
                with anyio.fail_after(60):
                    await until_asked(provider, "GET", "/resp_1")
                tasks.cancel_scope.cancel()
            with anyio.fail_after(60):
                await until_asked(provider, "POST", "/cancel")
            assert provider.count("POST", "/cancel") == 1
