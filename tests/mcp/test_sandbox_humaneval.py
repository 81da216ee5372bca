"""HumanEval's reference solutions pass and its empty stubs fail, through the tool, on both back
ends."""

from collections.abc import AsyncIterator

import anyio
import pytest
from mcp import Client

from tests.conftest import require
from tests.services.docker_engine import DockerServer
from tests.services.human_eval import HumanEvalProblem, read_problems
from tests.services.orchestrator import call, connect


@pytest.fixture(scope="module")
def problems() -> list[HumanEvalProblem]:
    return require(read_problems)


@pytest.fixture(scope="module", params=["bubblewrap", "docker"])
async def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    settings = {
        "MCP_ORCHESTRATOR_SANDBOX": str(request.param),
        "MCP_ORCHESTRATOR_SANDBOX_RISK_REFUSE": "101",
    }
    if request.param == "docker":
        server: DockerServer = request.getfixturevalue("docker_server")
        settings["DOCKER_HOST"] = server.url
    folder = tmp_path_factory.mktemp("humaneval")
    async with connect("stdio-modern", folder, settings) as connected:
        yield connected


async def passed(client: Client, problems: list[HumanEvalProblem], *, solved: bool) -> set[str]:
    """Return the ids of the problems whose tests pass."""
    good: set[str] = set()

    async def judge(problem: HumanEvalProblem) -> None:
        body = problem["canonical_solution"] if solved else "    pass\n"
        arguments = {
            "code": problem["prompt"] + body,
            "tests": f"{problem['test']}\ncheck({problem['entry_point']})\n",
            "coverage": False,
        }
        if (await call(client, "sandbox_run_tests", arguments))["all_passed"]:
            good.add(problem["task_id"])

    async with anyio.create_task_group() as tasks:
        for problem in problems:
            tasks.start_soon(judge, problem)
    return good


async def test_solutions_pass_and_stubs_fail(
    client: Client, problems: list[HumanEvalProblem]
) -> None:
    assert len(problems) == 164
    assert await passed(client, problems, solved=True) == {each["task_id"] for each in problems}
    assert await passed(client, problems, solved=False) == set()
