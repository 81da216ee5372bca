"""A risky program waits for a person: asked by the client, or on the command line."""

import json
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp import Client

from tests.services.orchestrator import Json, Way, call, command, connect, environment
from tests.services.programmer import PROBLEM, RIGHT, TESTS, programmer, provider_settings
from tests.services.provider_server import provider_server

#: Every program counts as risky.
SETTINGS = {"MCP_ORCHESTRATOR_LOOP_APPROVAL_RISK": "0"}


class Person:
    """Answers the client's forms, and remembers them."""

    def __init__(self, answer: mcp_types.ElicitResult) -> None:
        self.questions: list[str] = []
        self._answer = answer

    async def __call__(self, _context: Any, params: Any) -> mcp_types.ElicitResult:
        self.questions.append(params.message)
        return self._answer


@asynccontextmanager
async def waiting_loop(
    way: Way, folder: Path, **callbacks: Any
) -> AsyncGenerator[tuple[Client, str]]:
    """Give a client and a loop whose program passes its tests."""
    async with provider_server(programmer(RIGHT)) as provider:
        settings = provider_settings(provider.base_url) | SETTINGS
        async with connect(way, folder, settings, **callbacks) as client:
            arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}
            yield client, (await call(client, "loop_start", arguments))["loop_id"]


async def until(client: Client, loop_id: str, wanted: Callable[[Json], bool]) -> Json:
    """Look at a loop until it is as wanted."""
    for _ in range(40):
        loop = await call(client, "loop_get", {"loop_id": loop_id, "wait_seconds": 1})
        if wanted(loop):
            return loop
    raise AssertionError("it never came so far")


def ended(loop: Json) -> bool:
    return loop["state"] in ("completed", "failed")


@pytest.mark.parametrize("way", ["stdio-handshake", "http-modern"])
async def test_the_client_asks_its_person_and_yes_delivers(way: Way, tmp_path: Path) -> None:
    person = Person(mcp_types.ElicitResult(action="accept", content={"approve": True}))
    async with waiting_loop(way, tmp_path, elicitation_callback=person) as (client, loop_id):
        loop = await until(client, loop_id, ended)
        audit = (await call(client, "saga_audit", {"saga_id": loop_id}))["events"]
    assert loop["solved"], loop
    assert (Path(loop["delivered_to"]) / "solution.py").read_text() == RIGHT
    assert "risk score" in person.questions[0]
    assert any("approval" in line for line in audit), audit


async def test_no_delivers_nothing(tmp_path: Path) -> None:
    answer = mcp_types.ElicitResult(
        action="accept", content={"approve": False, "reason": "not in my house"}
    )
    way: Way = "stdio-modern"
    async with waiting_loop(way, tmp_path, elicitation_callback=Person(answer)) as (client, it):
        loop = await until(client, it, ended)
    assert loop["state"] == "failed"
    assert "not in my house" in loop["error"]
    assert not (tmp_path / "loops").exists()


async def test_who_declines_to_answer_decides_nothing_and_the_command_line_does(
    tmp_path: Path,
) -> None:
    person = Person(mcp_types.ElicitResult(action="decline"))
    way: Way = "stdio-handshake"
    async with waiting_loop(way, tmp_path, elicitation_callback=person) as (client, loop_id):
        loop = await until(client, loop_id, lambda loop: bool(loop) and len(person.questions) > 1)
        assert loop["step"] == "approve"
        assert f"saga approve {loop_id} delivery" in loop["next"]
        approve = ["saga", "approve", loop_id, "delivery", "--reason", "I have read it"]
        subprocess.run(command(*approve), env=environment(tmp_path), check=True)
        loop = await until(client, loop_id, ended)
    assert loop["solved"], json.dumps(loop)
