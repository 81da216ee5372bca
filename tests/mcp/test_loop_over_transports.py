"""The main job through a real client, over every transport and in both protocol eras."""

import json
import subprocess
from pathlib import Path

import pytest
from anyio import to_thread

from tests.services.orchestrator import (
    WAYS,
    Teller,
    Way,
    call,
    command,
    connect,
    environment,
    refusal,
    until_ended,
)
from tests.services.programmer import (
    ANALYSIS,
    HOPELESS,
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
            everything = await client.read_resource(f"loop://{loop['loop_id']}")
            diffs = json.loads(getattr(everything.contents[0], "text", ""))["diffs"]
            assert diffs.startswith("--- attempt 1\n+++ attempt 3\n")
            saga = await client.read_resource(f"saga://{loop['loop_id']}")
            whole = json.loads(getattr(saga.contents[0], "text", ""))
            assert [step["name"] for step in whole["steps"]] == [
                "reason", "generate", "refine", "approve", "deliver",
            ]  # fmt: skip
            assert any("saga_complete" in line for line in whole["audit"])


async def test_a_loop_that_cannot_be_solved_says_why_and_keeps_the_best(tmp_path: Path) -> None:
    half = "def add(a, b):\n    return 3\n"
    async with provider_server(programmer(HOPELESS, half)) as provider:
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


async def test_a_program_that_is_nearly_right_is_found_when_no_model_goes_on(
    tmp_path: Path,
) -> None:
    async with provider_server(programmer(HOPELESS, WRONG)) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            arguments = {
                "problem": PROBLEM, "tests": TESTS, "candidates": 1, "budget": {"model_calls": 4},
            }  # fmt: skip
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
        assert provider.count("POST", "/chat/completions") == 4
    assert loop["solved"], loop
    assert loop["code"] == RIGHT
    assert loop["stop_reason"].endswith("by a change that no model made")
    assert "line 2: `a - b` became `a + b`" in loop["attempts"][-1]


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


async def test_a_program_may_not_need_a_newer_python_than_was_asked_for(tmp_path: Path) -> None:
    newer = "def add(a, b):\n    match a:\n        case _:\n            return a + b\n"
    async with provider_server(programmer(newer, RIGHT)) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            arguments = {
                "problem": PROBLEM, "tests": TESTS, "candidates": 1, "language_level": "3.9",
            }  # fmt: skip
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
            wrong = await refusal(client, "loop_start", arguments | {"language_level": "2.7"})
        prompts = [received.prompt for received in provider.requests]
    assert loop["solved"], loop
    assert "it needs a newer Python than 3.9: Pattern matching" in loop["attempts"][0]
    assert loop["code"] == RIGHT
    assert any("It must run on Python 3.9." in prompt for prompt in prompts)
    assert "language_level" in wrong


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


async def test_generated_tests_choose_among_programs_that_pass_the_users(tmp_path: Path) -> None:
    cheat = "def add(a,b):return 3*(a==1)\n"  # passes, and is shorter
    generated = "from solution import add\n\ndef test_two():\n    assert add(2, 2) == 4\n\n"
    generated += "def test_wrong():\n    assert add(1, 1) == 3\n\n"
    generated += "def test_five():\n    assert add(5, 5) == 10\n"
    programs = [cheat, RIGHT]

    def respond(received: Received) -> Answer:
        if "You write tests" in received.prompt:
            assert "return" not in received.prompt.replace("returns", ""), "of no program"
            return says(fenced(generated))(received)
        if "Do not write the program" in received.prompt:
            return says(ANALYSIS)(received)
        if received.method == "GET":  # the list of models
            return says("")(received)
        return says(fenced(programs.pop(0)))(received)

    async with provider_server(respond) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 2}
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
            report = await client.read_resource(f"loop://{loop['loop_id']}/report")
    assert loop["solved"], loop
    assert loop["code"] == RIGHT
    text = getattr(report.contents[0], "text", "")
    assert "Generated tests (not the user's; they chose" in text
    assert "test_wrong" in text


async def test_a_recorded_loop_is_replayed_bit_for_bit(tmp_path: Path) -> None:
    cassette = tmp_path / "loop.jsonl"
    arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 2}
    seen: list[tuple[str, list[str], str]] = []
    asked = list[int]()
    async with provider_server(programmer()) as provider:
        settings = provider_settings(provider.base_url, perplexity=True)
        modes = ({"RECORD_PROVIDERS": str(cassette)}, {"REPLAY_PROVIDERS": str(cassette)})
        for number, mode in enumerate(modes):
            asked.append(len(provider.requests))
            folder = tmp_path / str(number)
            folder.mkdir()
            more = {f"MCP_ORCHESTRATOR_{name}": value for name, value in mode.items()}
            async with connect("stdio-modern", folder, settings | more) as client:
                started = await call(client, "loop_start", arguments)
                loop = await until_ended(client, started["loop_id"])
            tests = (Path(loop["delivered_to"]) / "test_solution.py").read_text()
            seen.append((loop["code"], loop["attempts"], tests))
        assert len(provider.requests) == asked[-1], "nobody was asked the second time"
    assert seen[0] == seen[1]
    assert "test-key" not in cassette.read_text()


def delivered(folder: Path) -> list[str]:
    return [found.name for found in (folder / "loops").iterdir()]


async def test_compensating_a_loop_takes_the_delivery_away(tmp_path: Path) -> None:
    async with provider_server(programmer(RIGHT)) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}
            started = await call(client, "loop_start", arguments)
            loop = await until_ended(client, started["loop_id"])
            assert delivered(tmp_path) == [loop["loop_id"]]
            undo = command("saga", "compensate", loop["loop_id"], "--reason", "not wanted")
            await to_thread.run_sync(
                lambda: subprocess.run(undo, env=environment(tmp_path), check=True)
            )
            await until_ended(client, loop["loop_id"])
            assert delivered(tmp_path) == []
