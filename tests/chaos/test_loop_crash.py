"""kill -9 of the server in the middle of a loop: it goes on, and nothing is paid for twice."""

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from tests.services.orchestrator import Json, call, start_http_server, until_ended
from tests.services.programmer import PROBLEM, RIGHT, TESTS, programmer, provider_settings
from tests.services.provider_server import Answer, ProviderServer, Received, provider_server


class Gate:
    """Answers like the programmer, but holds the nth request until the server is dead."""

    def __init__(self, held: int) -> None:
        self._respond = programmer()
        self._held = held
        self._count = 0
        self.reached = anyio.Event()
        self.open = anyio.Event()

    def __call__(self, received: Received) -> Answer:
        self._count += 1
        answer = self._respond(received)
        if self._count == self._held:
            self.reached.set()
            answer.wait = self.open.wait
        return answer


def asked(provider: ProviderServer) -> Counter[str]:
    """Count the requests by what they said."""
    return Counter(it.prompt for it in provider.requests if it.method == "POST")


async def begin_and_kill(gate: Gate, folder: Path, settings: dict[str, str], loop: Json) -> str:
    """Start a loop, kill its server while the held request is in flight, return the loop's id."""
    loop_id = ""
    server = start_http_server(folder, settings=settings)
    try:
        async with Client(server.url("/mcp")) as client:
            loop_id = (await call(client, "loop_start", loop))["loop_id"]
            with anyio.fail_after(20):
                await gate.reached.wait()
            server.kill()
    except* Exception:
        assert server.process.returncode == -9
    finally:
        server.kill()
    gate.open.set()
    return loop_id


async def go_on(folder: Path, settings: dict[str, str], loop_id: str) -> tuple[Json, list[Any]]:
    """Start another server, wait for the loop's end, return it and its audit trail."""
    server = start_http_server(folder, settings=settings)
    try:
        async with Client(server.url("/mcp")) as client:
            loop = await until_ended(client, loop_id)
            saga = await call(client, "saga_get", {"saga_id": loop_id, "include_audit": True})
            return loop, saga["audit"]
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("held", "candidates"),
    [
        pytest.param(1, 1, id="in the analysis"),
        pytest.param(2, 1, id="in the only candidate"),
        pytest.param(3, 1, id="in the repair"),
        pytest.param(4, 4, id="in the third of four candidates"),
    ],
)
async def test_only_the_request_in_flight_is_asked_again(
    held: int, candidates: int, tmp_path: Path
) -> None:
    gate = Gate(held)
    async with provider_server(gate) as provider:
        settings = {
            **provider_settings(provider.base_url),
            "MCP_ORCHESTRATOR_SAGA_LEASE_SECONDS": "1",
            "MCP_ORCHESTRATOR_LOOP_CONCURRENCY": "1",
        }
        loop = {"problem": PROBLEM, "tests": TESTS, "candidates": candidates}
        loop_id = await begin_and_kill(gate, tmp_path, settings, loop)
        assert asked(provider).total() == held
        ended, audit = await go_on(tmp_path, settings, loop_id)

        assert ended["solved"], ended
        assert ended["code"] == RIGHT
        counts = asked(provider)
        assert sorted(counts.values()) == [1] * (candidates + 1) + [2]  # and one repair
        assert any("takeover" in line for line in audit), audit
