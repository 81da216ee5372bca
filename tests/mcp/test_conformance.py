"""The official conformance suite against our own server object, with the suite's fixtures on it."""

import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import require
from tests.services.conformance_suite import failures, find_suite
from tests.services.orchestrator import environment
from tests.services.process import await_ready, free_port, stop_process

SERVER = "tests.mcp.conformance.serve"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@contextmanager
def _serving(folder: Path, module: str, *arguments: str, **settings: str) -> Generator[str]:
    """Run a module that listens on the port which is its first argument."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(port), *arguments],
            env=environment(folder, MCP_ORCHESTRATOR_REPLICA_URL=url, **settings),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        await_ready(process, lambda: _answers(f"{url}/health"), log)
        yield url
    finally:
        stop_process(process)


@pytest.fixture(scope="module", params=["one server", "two servers taking turns"])
def conforming(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("conforming")
    with ExitStack() as stack:
        first = stack.enter_context(_serving(folder, SERVER))
        if request.param == "one server":
            yield f"{first}/mcp"
            return
        second = stack.enter_context(_serving(folder, SERVER))
        proxy = stack.enter_context(_serving(folder, "tests.services.round_robin", first, second))
        yield f"{proxy}/mcp"


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_every_required_scenario_passes(conforming: str, tmp_path: Path, revision: str) -> None:
    suite = require(find_suite)
    required = _required(suite, revision)
    failed, passed = failures(suite, conforming, tmp_path, "--requirements", revision)
    ours = [line for line in failed if line.partition(":")[0] in required]
    assert not ours, "\n".join(ours)
    ran = {path.parent.name for path in tmp_path.glob("*/checks.json")}
    missing = [name for name in required if not any(f"server-{name}-" in each for each in ran)]
    assert not missing
    assert passed >= len(required)


def _required(suite: list[str], revision: str) -> set[str]:
    folder = Path(suite[1]).parents[1] / "requirements"
    text = (folder / f"{revision}.yaml").read_text()
    section = text.partition("\nserver:\n")[2].partition("\nclient:\n")[0]
    required = set(re.findall(r"- ([a-z0-9-]+)", section))
    # The Tasks extension is optional by the protocol, and required here.
    return required | set(re.findall(r"- scenario: (tasks-[a-z-]+)", text))
