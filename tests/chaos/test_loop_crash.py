"""kill -9 of the server in the middle of a loop: it goes on, and nothing is paid for twice."""

from collections import Counter
from pathlib import Path

import anyio
import pytest
from mcp import Client

from tests.services.orchestrator import call, start_http_server, until_ended
from tests.services.programmer import PROBLEM, RIGHT, TESTS, programmer, provider_settings
from tests.services.provider_server import Answer, ProviderServer, Received, provider_server

#: Analysis, candidate, repair: the requests of a loop with one candidate.
REQUESTS = 3


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


@pytest.mark.parametrize("held", range(1, REQUESTS + 1))
async def test_only_the_request_in_flight_is_asked_again(held: int, tmp_path: Path) -> None:
    gate = Gate(held)
    async with provider_server(gate) as provider:
        settings = {
            **provider_settings(provider.base_url),
            "MCP_ORCHESTRATOR_SAGA_LEASE_SECONDS": "1",
        }
        first = start_http_server(tmp_path, settings=settings)
        loop_id = ""
        try:
            async with Client(first.url("/mcp")) as client:
                arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}
                loop_id = (await call(client, "loop_start", arguments))["loop_id"]
                with anyio.fail_after(20):
                    await gate.reached.wait()
                first.kill()
        except* Exception:
            assert first.process.returncode == -9
        finally:
            first.kill()
        gate.open.set()
        before = asked(provider)
        assert before.total() == held

        second = start_http_server(tmp_path, settings=settings)
        try:
            async with Client(second.url("/mcp")) as client:
                loop = await until_ended(client, loop_id)
                audit = await call(client, "saga_get", {"saga_id": loop_id, "include_audit": True})
        finally:
            second.stop()
        assert loop["solved"], loop
        assert loop["code"] == RIGHT
        after = asked(provider)
        assert after.total() == REQUESTS + 1
        assert [count for count in after.values() if count > 1] == [2]
        assert any("takeover" in line for line in audit["audit"]), audit["audit"]


async def test_candidates_that_were_answered_are_not_asked_for_again(tmp_path: Path) -> None:
    """Four candidates at once: those in flight at the kill are repeated, no other."""
    gate = Gate(held=4)
    async with provider_server(gate) as provider:
        settings = {
            **provider_settings(provider.base_url),
            "MCP_ORCHESTRATOR_SAGA_LEASE_SECONDS": "1",
            "MCP_ORCHESTRATOR_LOOP_CONCURRENCY": "1",
        }
        first = start_http_server(tmp_path, settings=settings)
        loop_id = ""
        try:
            async with Client(first.url("/mcp")) as client:
                arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 4}
                loop_id = (await call(client, "loop_start", arguments))["loop_id"]
                with anyio.fail_after(20):
                    await gate.reached.wait()
                first.kill()
        except* Exception:
            assert first.process.returncode == -9
        finally:
            first.kill()
        gate.open.set()
        second = start_http_server(tmp_path, settings=settings)
        try:
            async with Client(second.url("/mcp")) as client:
                loop = await until_ended(client, loop_id)
        finally:
            second.stop()
        assert loop["solved"], loop
        counts = asked(provider)
        assert sorted(counts.values()) == [1] * (len(counts) - 1) + [2]
