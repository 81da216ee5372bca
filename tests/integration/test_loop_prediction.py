"""The loop solves as often as its design predicts, with a coder whose error rate is known."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import cast

import anyio
import pytest
from pydantic import SecretStr

from mcp_orchestrator.codeloop import Budget, LoopResult, Problem, loop_definition
from mcp_orchestrator.runtime import Runtime, open_runtime
from mcp_orchestrator.saga import JsonObject
from mcp_orchestrator.settings import Settings
from tests.services import scripted_coder
from tests.services.provider_server import provider_server
from tests.services.scripted_coder import ScriptedCoder

CANDIDATES, REPAIRS, FRESH_STARTS = 2, 2, 1
RIGHT, REPAIRED = 0.15, 0.2
LOOPS, AT_ONCE = 60, 6


@pytest.fixture
async def coder() -> ScriptedCoder:
    return ScriptedCoder(RIGHT, REPAIRED, seed=20261122)


@pytest.fixture
async def runtime(coder: ScriptedCoder, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with provider_server(coder) as server:
        settings = Settings(
            data_dir=tmp_path,
            sandbox="bubblewrap",
            deepseek_api_key=SecretStr("test-key"),
            deepseek_base_url=server.base_url,
            loop_concurrency=1,
            embedded_worker=False,
        )
        async with open_runtime(settings) as opened:
            yield opened


@dataclass(frozen=True)
class Foretold:
    """What the design says of one loop, given what the coder will answer."""

    solved: bool
    calls: int


def foretell(coder: ScriptedCoder, number: int) -> Foretold:
    """Follow the design in the docs: candidates, repairs, then fresh starts with theirs."""
    programs, repairs = count(), count()
    name, calls = f"shift_{number}", 0

    def one(kind: str, ordinals: "count[int]") -> bool:
        nonlocal calls
        calls += 1
        return coder.draw(f"{name}.{kind}", next(ordinals))

    if any(one("program", programs) for _ in range(CANDIDATES)):
        return Foretold(solved=True, calls=calls)
    for start in range(FRESH_STARTS + 1):
        if start > 0 and one("program", programs):
            return Foretold(solved=True, calls=calls)
        if any(one("repair", repairs) for _ in range(REPAIRS)):
            return Foretold(solved=True, calls=calls)
    return Foretold(solved=False, calls=calls)


async def solve(runtime: Runtime, number: int) -> LoopResult:
    """Run one loop to its end."""
    problem = Problem(
        problem=scripted_coder.problem(number),
        tests=scripted_coder.tests(number),
        analyse=False,
        candidates=CANDIDATES,
        repairs=REPAIRS,
        fresh_starts=FRESH_STARTS,
        small_changes=0,
        budget=Budget(model_calls=50),
    )
    given = cast("JsonObject", problem.model_dump(mode="json"))
    started = await runtime.sagas.start(loop_definition(), given)
    view = await runtime.sagas.wait_for(started.saga_id, timeout=170)
    return LoopResult.model_validate(view.output)


async def test_the_solve_rate_is_what_the_design_predicts(
    runtime: Runtime, coder: ScriptedCoder
) -> None:
    results: dict[int, LoopResult] = {}
    room = anyio.CapacityLimiter(AT_ONCE)

    async def run(number: int) -> None:
        async with room:
            results[number] = await solve(runtime, number)

    async with anyio.create_task_group() as tasks:
        for number in range(1, LOOPS + 1):
            tasks.start_soon(run, number)

    assert coder.poor_feedback == [], "every repair was asked for with what it takes"
    for number, result in results.items():
        told = foretell(coder, number)
        assert (result.solved, result.spend.model_calls) == (told.solved, told.calls), number
    # and the draws themselves are as likely as they should be: within three standard deviations
    line_fails = (1 - REPAIRED) ** REPAIRS
    fails = (1 - RIGHT) ** CANDIDATES * line_fails
    fails *= ((1 - RIGHT) * line_fails) ** FRESH_STARTS
    expected, deviation = LOOPS * (1 - fails), (LOOPS * fails * (1 - fails)) ** 0.5
    solved = sum(result.solved for result in results.values())
    assert abs(solved - expected) < 3 * deviation, (solved, expected)


async def test_bad_feedback_would_repair_nothing(coder: ScriptedCoder) -> None:
    prompt = f"{scripted_coder.problem(3)}\nThis program is wrong:\nWhat happened:\n- it fails"
    answers = [coder.answer(prompt) for _ in range(50)]
    assert all("+ 99" in answer for answer in answers)
