"""Budgets and refusals in a real server: nothing is sent past them, and what there is is kept."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.services.orchestrator import Json, call, connect, refusal, until_ended
from tests.services.programmer import HOPELESS, PROBLEM, TESTS, programmer, provider_settings
from tests.services.provider_server import Answer, Received, provider_server, reply

LOOP: Json = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}


async def solve(folder: Path, settings: Mapping[str, str]) -> Json:
    """Run one loop to its end, in a server with these settings."""
    async with connect("stdio-handshake", folder, settings) as client:
        started = await call(client, "loop_start", LOOP)
        return await until_ended(client, started["loop_id"])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CALL_TOKENS", "50", "more than one call is allowed"),
        ("DAY_TOKENS", "50", "for today (UTC)"),
        ("DAY_CALLS", "0", "for today (UTC)"),
    ],
)
async def test_what_a_budget_does_not_allow_is_never_sent(
    name: str, value: str, words: str, tmp_path: Path
) -> None:
    async with provider_server(programmer(HOPELESS)) as provider:
        settings = provider_settings(provider.base_url) | {f"MCP_ORCHESTRATOR_BUDGET_{name}": value}
        async with connect("stdio-handshake", tmp_path, settings) as client:
            told = await refusal(client, "codegen_generate", {"problem": PROBLEM})
        assert provider.count("POST") == 0
    assert words in told


@pytest.mark.parametrize("name", ["CALL_MONEY", "SAGA_MONEY", "DAY_MONEY"])
async def test_what_would_cost_too_much_is_never_sent(name: str, tmp_path: Path) -> None:
    """The vendor itself has prices; an empty recording answers in its place, were it asked."""
    (tmp_path / "empty.jsonl").write_text("")
    settings = {
        "DEEPSEEK_API_KEY": "test-key",
        f"MCP_ORCHESTRATOR_BUDGET_{name}": "0.000001",
        "MCP_ORCHESTRATOR_REPLAY_PROVIDERS": str(tmp_path / "empty.jsonl"),
    }
    loop = await solve(tmp_path, settings)
    assert loop["state"] == "failed"
    assert "CNY" in loop["error"]
    assert "no further answer" not in loop["error"], "nobody was asked"


@pytest.mark.parametrize("name", ["SAGA_CALLS", "DAY_CALLS"])
async def test_a_loop_that_meets_a_budget_keeps_its_best(name: str, tmp_path: Path) -> None:
    async with provider_server(programmer(HOPELESS)) as provider:
        budget = {f"MCP_ORCHESTRATOR_BUDGET_{name}": "2"}
        loop = await solve(tmp_path, provider_settings(provider.base_url) | budget)
        assert provider.count("POST") == 2, "the analysis and a candidate; no repair"
    assert (loop["state"], loop["solved"], loop["code"]) == ("completed", False, HOPELESS)
    assert "no further program was to be had" in loop["stop_reason"]
    assert "2 calls" in loop["stop_reason"]


async def test_a_provider_that_runs_out_of_money_half_way_does_not_cost_the_best(
    tmp_path: Path,
) -> None:
    works = programmer(HOPELESS)

    def respond(received: Received) -> Answer:
        if "This program is wrong" in received.prompt:
            return reply({"error": {"message": "Insufficient Balance"}}, status=402)
        return works(received)

    async with provider_server(respond) as provider:
        loop = await solve(tmp_path, provider_settings(provider.base_url))
        assert provider.count("POST") == 3, "402 is not asked again"
    assert (loop["state"], loop["solved"], loop["code"]) == ("completed", False, HOPELESS)
    assert "402" in loop["stop_reason"]


async def test_a_loop_whose_provider_goes_away_fails_and_shows_its_best(tmp_path: Path) -> None:
    works = programmer(HOPELESS)

    def respond(received: Received) -> Answer:
        if "This program is wrong" in received.prompt:
            return reply({"choices": 7})  # no retry by us, three by the step
        return works(received)

    async with provider_server(respond) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            started = await call(client, "loop_start", LOOP)
            loop = await until_ended(client, started["loop_id"])
            code = await client.read_resource(f"loop://{loop['loop_id']}/code")
    assert (loop["state"], loop["solved"], loop["code"]) == ("failed", None, HOPELESS)
    assert loop["attempts"][0].startswith("candidate: passed 0 of 2")
    assert getattr(code.contents[0], "text", "") == HOPELESS
