"""The main job through a real client, over every transport and in both protocol eras."""

import json
from pathlib import Path

import pytest

from tests.services.orchestrator import WAYS, Teller, Way, call, connect, refusal, until_ended
from tests.services.programmer import (
    ANALYSIS,
    PROBLEM,
    RIGHT,
    TESTS,
    WRONG,
    fenced,
    programmer,
    provider_settings,
)
from tests.services.provider_server import Answer, Received, provider_server, reply, says


@pytest.mark.parametrize("way", WAYS)
async def test_a_program_is_reasoned_about_written_tested_repaired_and_delivered(
    way: Way, tmp_path: Path
) -> None:
    async with provider_server(programmer()) as provider:
        settings = provider_settings(provider.base_url, perplexity=True)
        async with connect(way, tmp_path, settings) as client:
            progress = Teller()
            started = await call(
                client,
                "loop_start",
                {"problem": PROBLEM, "tests": TESTS, "candidates": 2},
                progress=progress,
            )
            loop = await until_ended(client, started["loop_id"], progress=progress)

            assert loop["solved"], loop
            assert loop["code"] == RIGHT
            assert loop["attempts"][0].startswith("candidate: passed 0 of 2")
            assert loop["attempts"][-1] == "repair of attempt 1: passed all 2 tests"
            assert any("repair" in message for message in progress.messages)
            # Perplexity analysed and diagnosed, DeepSeek wrote two candidates and a repair
            assert provider.count("POST", "/responses") == 2
            assert provider.count("POST", "/chat/completions") == 3
            assert "5 model calls" in loop["spent"]

            delivered = Path(loop["delivered_to"])
            assert (delivered / "solution.py").read_text() == RIGHT
            code = await client.read_resource(f"loop://{loop['loop_id']}/code")
            assert getattr(code.contents[0], "text", "") == RIGHT
            report = await client.read_resource(f"loop://{loop['loop_id']}/report")
            report_text = getattr(report.contents[0], "text", "")
            assert ANALYSIS in report_text
            assert "-    return a - b" in report_text
            saga = await client.read_resource(f"saga://{loop['loop_id']}")
            whole = json.loads(getattr(saga.contents[0], "text", ""))
            assert [step["name"] for step in whole["steps"]] == [
                "reason", "generate", "refine", "approve", "deliver",
            ]  # fmt: skip
            assert any("saga_complete" in line for line in whole["audit"])


async def test_a_loop_that_cannot_be_solved_says_why_and_keeps_the_best(tmp_path: Path) -> None:
    half = "def add(a, b):\n    return 3\n"
    async with provider_server(programmer(WRONG, half)) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            arguments = {
                "problem": PROBLEM, "tests": TESTS, "candidates": 1, "budget": {"model_calls": 4},
            }  # fmt: skip
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
    assert loop["solved"] is False
    assert loop["state"] == "completed"
    assert loop["stop_reason"] == "the budget of 4 model calls is spent"
    assert loop["code"] == half
    assert provider.count("POST", "/chat/completions") == 4


async def test_without_tests_some_are_generated_and_labelled(tmp_path: Path) -> None:
    generated = fenced("from solution import add\n\ndef test_one():\n    assert add(2, 2) == 4\n")

    def respond(received: Received) -> Answer:
        if "You write tests" in received.prompt:
            return says(generated)(received)
        return programmer(RIGHT)(received)

    async with provider_server(respond) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            started = await call(client, "loop_start", {"problem": PROBLEM, "candidates": 1})
            loop = await until_ended(client, started["loop_id"])
            whole = await client.read_resource(f"loop://{loop['loop_id']}")
    assert loop["solved"], loop
    assert json.loads(getattr(whole.contents[0], "text", ""))["tests_generated"] is True


async def test_a_provider_that_wants_money_ends_the_loop_with_its_words(tmp_path: Path) -> None:
    def broke(_received: Received) -> Answer:
        return reply({"error": {"message": "Insufficient Balance"}}, status=402)

    async with provider_server(broke) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            started = await call(client, "loop_start", {"problem": PROBLEM, "tests": TESTS})
            loop = await until_ended(client, started["loop_id"])
    assert loop["state"] == "failed"
    assert "402" in loop["error"]
    assert "test-key-deepseek" not in json.dumps(loop)
    assert provider.count("POST") == 1  # it would refuse again


async def test_a_program_may_not_import_what_was_not_allowed(tmp_path: Path) -> None:
    sneaky = "import os\n\ndef add(a, b):\n    return a + b\n"
    async with provider_server(programmer(sneaky, RIGHT)) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            arguments = {
                "problem": PROBLEM, "tests": TESTS, "candidates": 1, "allowed_imports": ["math"],
            }  # fmt: skip
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
    assert loop["solved"], loop
    assert "it imports os, which is not allowed" in loop["attempts"][0]
    assert loop["code"] == RIGHT


async def test_a_given_program_is_repaired_and_comes_back_as_a_patch(tmp_path: Path) -> None:
    tests = "from sums import add\nfrom data import PAIRS\n\n"
    tests += "def test_pairs():\n    for a, b, total in PAIRS:\n        assert add(a, b) == total\n"
    async with provider_server(programmer()) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-modern", tmp_path, settings) as client:
            arguments = {
                "problem": PROBLEM, "tests": tests, "program": WRONG, "module_name": "sums",
                "files": {"data.py": "PAIRS = [(1, 2, 3), (0, 0, 0)]\n"},
            }  # fmt: skip
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
            untested = await refusal(client, "loop_start", {"problem": "x", "program": WRONG})
    assert loop["solved"], loop
    assert loop["attempts"][0].startswith("given: passed 0 of 1")
    assert "-    return a - b\n+    return a + b\n" in loop["patch"]
    assert loop["patch"].startswith("--- a/sums.py\n+++ b/sums.py\n")
    assert (Path(loop["delivered_to"]) / "changes.patch").read_text() == loop["patch"]
    assert "needs tests" in untested
