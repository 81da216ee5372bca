"""What only the Docker back end has to answer for: strays, dead containers, missing images."""

# They look at the engine and wait for containers that have no event to offer.
# ruff: noqa: ASYNC110

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox import (
    ExecutionRequest,
    Limits,
    RunStatus,
    Sandbox,
    open_sandbox,
)
from mcp_orchestrator.sandbox.docker.attachment import Demultiplexer
from mcp_orchestrator.sandbox.docker.engine import DockerEngine
from tests.sandbox_fixtures import FEARLESS
from tests.services.docker_engine import DockerServer

PROJECT = Path(__file__).parents[2]
LONG = ExecutionRequest("import time; time.sleep(60)", limits=replace(Limits(), wall_seconds=60))


@pytest.fixture
async def containers(docker_server: DockerServer) -> AsyncIterator[Sandbox]:
    opened = await open_sandbox(
        "docker", docker_host=docker_server.url, clock=SystemClock(), risk_policy=FEARLESS
    )
    yield opened
    await opened.close()


async def until(condition: Callable[[], bool], seconds: float) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)


def count(server: DockerServer) -> int:
    engine = DockerEngine(server.url)
    try:
        return len(engine.labelled())
    finally:
        engine.close()


def test_the_stream_is_taken_apart_however_it_is_chopped() -> None:
    stream = b"\1\0\0\0\0\0\0\2ab" + b"\2\0\0\0\0\0\0\3err" + b"\1\0\0\0\0\0\0\1c"
    for size in range(1, len(stream) + 1):
        streams = Demultiplexer()
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert b"".join(streams.feed(piece) for piece in pieces) == b"abc"
        assert bytes(streams.errors) == b"err"


async def test_nothing_is_left_after_closing(docker_server: DockerServer) -> None:
    before = count(docker_server)
    sandbox = await open_sandbox("docker", docker_host=docker_server.url, clock=SystemClock())
    for _ in range(3):
        await sandbox.run(ExecutionRequest("print(1)"))
    assert count(docker_server) > before
    await sandbox.close()
    assert count(docker_server) == before


async def test_cancelling_removes_the_container(
    containers: Sandbox, docker_server: DockerServer
) -> None:
    await containers.run(ExecutionRequest("print(1)"))
    started = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            code = "print('up', flush=True); import time; time.sleep(60)"
            request = ExecutionRequest(code, limits=replace(Limits(), wall_seconds=60))
            await containers.run(request, listener=lambda _stream, _text: started.set())

        tasks.start_soon(run)
        await started.wait()
        tasks.cancel_scope.cancel()
    warm = 2
    await until(lambda: count(docker_server) <= warm, 5)


async def test_strays_of_a_killed_server_are_removed_at_start(docker_server: DockerServer) -> None:
    program = (
        "import anyio, os\n"
        "from mcp_orchestrator.clock import SystemClock\n"
        "from mcp_orchestrator.sandbox import open_sandbox\n"
        "async def main():\n"
        f"    await open_sandbox('docker', docker_host={docker_server.url!r}, "
        "clock=SystemClock())\n"
        "    await anyio.sleep(1)\n"
        "    os.kill(os.getpid(), 9)\n"
        "anyio.run(main)\n"
    )
    before = count(docker_server)
    command = [sys.executable, "-c", program]
    done = await anyio.run_process(command, check=False, cwd=PROJECT, stderr=subprocess.PIPE)
    assert done.returncode == -9, done.stderr
    assert count(docker_server) > before
    sandbox = await open_sandbox(
        "docker", docker_host=docker_server.url, clock=SystemClock(), warm=0
    )
    await until(lambda: count(docker_server) <= before, 5)
    await sandbox.close()


async def test_a_missing_image_or_engine_is_named_with_its_remedy(
    docker_server: DockerServer, tmp_path: Path
) -> None:
    with pytest.raises(SandboxUnavailableError, match=r"no image 'nobody/has:this'.*sandbox build"):
        await open_sandbox(
            "docker", docker_host=docker_server.url, image="nobody/has:this", clock=SystemClock()
        )
    with pytest.raises(SandboxUnavailableError, match="No Docker engine answers at"):
        await open_sandbox("docker", docker_host=f"unix://{tmp_path}/no", clock=SystemClock())


async def test_auto_takes_docker_when_it_answers_and_else_bubblewrap(
    docker_server: DockerServer, tmp_path: Path
) -> None:
    for url, name in ((docker_server.url, "docker"), (f"unix://{tmp_path}/no", "bubblewrap")):
        sandbox = await open_sandbox("auto", docker_host=url, clock=SystemClock())
        assert sandbox.backend_name == name
        await sandbox.close()


async def test_a_container_killed_mid_run_ends_the_run_and_the_next_one_works(
    containers: Sandbox, docker_server: DockerServer
) -> None:
    started = anyio.Event()
    engine = DockerEngine(docker_server.url)
    statuses: list[RunStatus] = []

    async def run() -> None:
        code = "print('up', flush=True); import time; time.sleep(60)"
        request = ExecutionRequest(code, limits=replace(Limits(), wall_seconds=60))
        result = await containers.run(request, listener=lambda _stream, _text: started.set())
        statuses.append(result.status)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await started.wait()
            for container, _ in engine.labelled():
                engine.remove(container)
    engine.close()
    assert statuses == [RunStatus.KILLED]
    assert (await containers.run(ExecutionRequest("print(2)"))).stdout == "2\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="a Docker engine of the tests' own needs root")
async def test_both_back_ends_hold_the_same_walls(containers: Sandbox, bubblewrap: Sandbox) -> None:
    walls = [set((await sandbox.check()).layers) for sandbox in (containers, bubblewrap)]
    assert walls[0] == walls[1]
