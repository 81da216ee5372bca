"""kill -9 of the server in the middle of a loop: it goes on, and nothing is paid for twice."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.services.orchestrator import Json, call, connect, doomed_client, until_ended
from tests.services.programmer import PROBLEM, RIGHT, TESTS, programmer, provider_settings
from tests.services.provider_server import Answer, ProviderServer, Received, provider_server, says
from tests.services.scripted_coder import ScriptedCoder
from tests.services.scripted_coder import problem as shift_problem
from tests.services.scripted_coder import tests as shift_tests


class Gate:
    """Answers like the programmer, but holds the nth request until the server is dead."""

    def __init__(self, held: int) -> None:
        self._respond = programmer()
        self._held = held
        self._count = 0
        self.reached = anyio.Event()
        self.open = anyio.Event()

    def __call__(self, received: Received) -> Answer:
        answer = self._respond(received)
        if received.method == "GET":  # the list of models, asked for as the server starts
            return answer
        self._count += 1
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
    async with doomed_client(folder, settings) as client:
        loop_id = (await call(client, "loop_start", loop))["loop_id"]
        with anyio.fail_after(20):
            await gate.reached.wait()
    gate.open.set()
    return loop_id


async def go_on(folder: Path, settings: dict[str, str], loop_id: str) -> tuple[Json, list[Any]]:
    """Start another server, wait for the loop's end, return it and its audit trail."""
    async with connect("http-handshake", folder, settings) as client:
        loop = await until_ended(client, loop_id)
        saga = await call(client, "saga_get", {"saga_id": loop_id, "include_audit": True})
        return loop, saga["audit"]


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


class Trapdoors:
    """Answers like a coder that is never right, and tells when it is at a chosen request.

    A trapdoor either keeps its request waiting for ever or opens while the answer is being sent:
    then nobody can say whether it arrived.
    """

    def __init__(self) -> None:
        self._coder = ScriptedCoder(right=0.0, repairs=0.0, seed=1)
        self._answers: dict[str, str] = {}
        self._left = 0
        self._kind = ""
        self.count = 0
        self.reached = anyio.Event()

    def set(self, requests: int, kind: str) -> None:
        """Set a trapdoor under the nth request from now on."""
        self._left, self._kind, self.reached = requests, kind, anyio.Event()

    def __call__(self, received: Received) -> Answer:
        if received.method == "GET":  # the list of models, asked for as the server starts
            return says("")(received)
        # the same question gets the same answer, however often a crash repeats it
        key = received.prompt
        if key not in self._answers:
            self._answers[key] = self._coder.answer(key)
        answer = says(self._answers[key])(received)
        self.count += 1
        self._left -= 1
        if self._left == 0 and self._kind == "held":
            self.reached.set()
            answer.wait = anyio.sleep_forever
        elif self._left == 0:
            answer.before_piece = self._tell
        return answer

    async def _tell(self) -> None:
        self.reached.set()


async def test_kills_at_random_points_repeat_nothing_but_what_was_in_flight(tmp_path: Path) -> None:
    """A loop that never succeeds makes as many requests as it may."""
    chance = random.Random(6)
    whole, kills = 10, 4
    coder = Trapdoors()
    async with provider_server(coder) as provider:
        settings = {
            **provider_settings(provider.base_url),
            "MCP_ORCHESTRATOR_SAGA_LEASE_SECONDS": "1",
            "MCP_ORCHESTRATOR_SAGA_MAX_TAKEOVERS": "20",
        }
        asks = {
            "problem": shift_problem(3), "tests": shift_tests(3), "candidates": 4,
            "budget": {"model_calls": whole},
        }  # fmt: skip
        loop_id = ""
        for _ in range(kills):
            coder.set(chance.randint(1, 2), chance.choice(["held", "answering"]))
            async with doomed_client(tmp_path, settings) as client:
                if not loop_id:
                    loop_id = (await call(client, "loop_start", asks))["loop_id"]
                with anyio.fail_after(60):
                    await coder.reached.wait()
        ended, audit = await go_on(tmp_path, settings, loop_id)
        assert ended["state"] == "completed", ended
        assert ended["stop_reason"] == f"the budget of {whole} model calls is spent"
        # four candidates may be in flight at a time, anything else alone
        assert len(ended["attempts"]) == whole - 1, "and one analysis"
        assert whole <= coder.count <= whole + 4 * kills
        assert sum("takeover" in line for line in audit) == kills, audit
