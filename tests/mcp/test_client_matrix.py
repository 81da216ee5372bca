"""Other people's clients, each over each transport that it has; what is asked of all is the same.

The `mcp` client itself goes through every way in test_loop_over_transports.py.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.services.foreign_clients import (
    AGENTS,
    FASTMCP,
    INSPECTOR,
    TYPESCRIPT,
    node_with,
    python_with,
)
from tests.services.orchestrator import HttpServer, command, environment, http_server

SCRIPTS = Path(__file__).with_name("clients")
CLIENTS = ("fastmcp", "langchain", "openai_agents", "pydantic_ai", "typescript 1", "typescript 2")
TRANSPORTS = ("stdio", "http", "sse")
#: Far more than any of them takes.
PATIENCE = 90


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    with http_server(
        tmp_path_factory.mktemp("matrix"), MCP_ORCHESTRATOR_TOOLSETS="default"
    ) as running:
        yield running


def target_of(transport: str, server: HttpServer, folder: Path) -> dict[str, Any]:
    """Return what a client needs to know to reach a server."""
    if transport == "stdio":
        program, *arguments = command("serve")
        settings = environment(folder, MCP_ORCHESTRATOR_TOOLSETS="default")
        return {"command": program, "args": arguments, "env": settings}
    return {"url": server.url("/mcp" if transport == "http" else "/sse")}


def client_command(client: str) -> list[str]:
    """Return how a client is run, its environment made where it is not there yet."""
    if client.startswith("typescript"):
        node, packages = require(lambda: node_with(*TYPESCRIPT))
        generation = client.split()[1]
        return [node, str(SCRIPTS / "run_typescript.mjs"), str(packages), generation]
    packages = FASTMCP if client == "fastmcp" else AGENTS
    return [str(require(lambda: python_with(*packages))), str(SCRIPTS / f"run_{client}.py")]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_lists_tools_and_calls_one(
    client: str, transport: str, server: HttpServer, tmp_path: Path
) -> None:
    target = target_of(transport, server, tmp_path)
    done = subprocess.run(
        [*client_command(client), transport, json.dumps(target)],
        capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"loop_start", "saga_start", "queue_add_task", "sandbox_execute"} <= set(told["tools"])
    assert told["stdout"] == "42\n"
    if client == "fastmcp" and transport != "sse":
        assert told["by_task"] == "42\n"


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_the_inspector_finds_nothing_to_object_to(
    transport: str, server: HttpServer, tmp_path: Path
) -> None:
    node, folder = require(lambda: node_with(*INSPECTOR))
    program = folder / "node_modules" / ".bin" / "mcp-inspector"
    if transport == "stdio":
        reached = command("serve")
    else:
        reached = [server.url("/mcp"), "--transport", "http"]
    done = subprocess.run(
        [node, str(program), "--cli", *reached, "--method", "tools/list", "--strict"],
        env=environment(tmp_path), cwd=tmp_path,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert '"loop_start"' in done.stdout
