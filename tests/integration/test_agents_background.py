"""Perplexity's background runs: whoever stops waiting also stops the billing."""

from collections.abc import AsyncIterator

import anyio
import pytest

from mcp_orchestrator.agents import Message, ModelRequest, PerplexityModel, ProviderHttp, perplexity
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import ProviderUnavailableError
from tests.services.provider_server import (
    Answer,
    ProviderServer,
    Received,
    agent_run,
    provider_server,
    raw,
    reply,
)

RESEARCH = ModelRequest((Message("user", "why?"),), effort="xhigh")


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    """Runs that never end."""

    def respond(received: Received) -> Answer:
        state = "cancelled" if received.path.endswith("/cancel") else "in_progress"
        return reply(agent_run(status=state))

    async with provider_server(respond) as running:
        yield running


@pytest.fixture
async def model(server: ProviderServer) -> AsyncIterator[PerplexityModel]:
    clock = SystemClock()
    http = ProviderHttp(perplexity.ACCOUNT, base_url=server.base_url, clock=clock)
    async with http:
        yield PerplexityModel(http, clock=clock, first_poll=0.02, longest_poll=0.05)


async def polled(server: ProviderServer, times: int) -> None:
    while server.count("GET") < times:
        server.asked = anyio.Event()
        await server.asked.wait()


async def test_cancelling_the_caller_cancels_the_run_within_a_second(
    server: ProviderServer, model: PerplexityModel
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.ask, RESEARCH)
        await polled(server, 3)
        with anyio.fail_after(1):
            tasks.cancel_scope.cancel()
            while not server.count("POST", "/v1/responses/resp_1/cancel"):
                with anyio.CancelScope(shield=True):
                    server.asked = anyio.Event()
                    await server.asked.wait()
    asked = len(server.requests)
    assert server.count("POST", "/cancel") == 1
    await anyio.wait_all_tasks_blocked()
    assert len(server.requests) == asked, "and nobody polls any more"


async def test_a_run_whose_id_is_still_on_its_way_is_cancelled_too(
    server: ProviderServer, model: PerplexityModel
) -> None:
    creating = anyio.Event()
    server.queue(Answer(200, reply(agent_run(status="queued")).pieces, wait=creating.wait))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.ask, RESEARCH)
        await server.asked.wait()
        tasks.cancel_scope.cancel()
        creating.set()
    assert server.count("POST", "/cancel") == 1
    assert server.count("GET") == 0


async def test_a_vendor_that_hangs_does_not_keep_us(
    server: ProviderServer, model: PerplexityModel
) -> None:
    server.queue(Answer(wait=anyio.sleep_forever))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.ask, RESEARCH)
        await server.asked.wait()
        tasks.cancel_scope.cancel()
        with anyio.fail_after(3, shield=True):
            await server.hung_up.wait()
    assert server.count() == 1


async def test_a_run_we_lose_sight_of_is_cancelled(
    server: ProviderServer, model: PerplexityModel
) -> None:
    server.queue(reply(agent_run(status="queued")), raw(b"nonsense"))
    with pytest.raises(ProviderUnavailableError, match="not a JSON object"):
        await model.ask(RESEARCH)
    assert server.count("POST", "/cancel") == 1


async def test_a_cancel_that_fails_does_not_hide_why_we_left(
    server: ProviderServer, model: PerplexityModel
) -> None:
    server.queue(reply(agent_run(status="queued")), raw(b"{}", status=404), raw(b"{}", status=409))
    with pytest.raises(Exception, match="404"):
        await model.ask(RESEARCH)
    assert server.count("POST", "/cancel") == 1
