"""Sandboxes for the tests: real ones, one for each back end."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.sandbox import RiskPolicy, Sandbox, open_sandbox
from tests.services.docker_engine import DockerServer, start_docker
from tests.services.process import ServiceMissingError

#: Tests look at the walls, so no score may keep a program from reaching them.
FEARLESS = RiskPolicy(strict_from=101, refuse_from=101)


@pytest.fixture(scope="session")
def docker_server(service_folder: Path) -> Iterator[DockerServer]:
    """A real Docker engine with the sandbox's image."""
    folder = service_folder / "docker"
    folder.mkdir()
    try:
        server = start_docker(folder)
    except ServiceMissingError as missing:
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(f"REQUIRE_ALL=1: {missing}")
        pytest.skip(str(missing))
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["bubblewrap", "docker"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """A sandbox of each back end that refuses nothing by its score."""
    url = None
    if request.param == "docker":
        server: DockerServer = request.getfixturevalue("docker_server")
        url = server.url
    opened = await open_sandbox(
        request.param, docker_host=url, clock=SystemClock(), risk_policy=FEARLESS
    )
    yield opened
    await opened.close()


@pytest.fixture(scope="module", params=["nursery", "alone"])
async def bubblewrap(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """A bubblewrap sandbox that refuses nothing by its score, with and without the nursery."""
    opened = await open_sandbox(
        "bubblewrap", clock=SystemClock(), risk_policy=FEARLESS, nursery=request.param == "nursery"
    )
    yield opened
    await opened.close()
