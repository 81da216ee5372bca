"""gVisor's name in a real engine; what answers to it here is runc, where gVisor is not at hand."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox import ExecutionRequest, open_sandbox
from mcp_orchestrator.sandbox.docker.engine import DockerEngine
from tests.conftest import require
from tests.sandbox_fixtures import FEARLESS
from tests.services.docker_engine import DockerServer, start_docker
from tests.services.process import find_program


@pytest.fixture(scope="module")
def gvisor_server(service_folder: Path) -> Iterator[DockerServer]:
    """An engine that offers runsc: the real one where it is installed, else runc by its name."""
    folder = service_folder / "gvisor"
    folder.mkdir()
    program = shutil.which("runsc") or require(lambda: find_program("runc"))
    server = require(lambda: start_docker(folder, f"--add-runtime=runsc={program}"))
    yield server
    server.stop()


def runtimes_of_containers(server: DockerServer) -> set[str]:
    """Ask the engine itself what our containers run on, those aside that go away meanwhile."""
    engine = DockerEngine(server.url)
    containers = [container for container, _ in engine.labelled()]
    engine.close()
    program = require(lambda: find_program("docker"))
    inspect = [program, "-H", server.url, "inspect", "--format={{.HostConfig.Runtime}}"]
    done = subprocess.run([*inspect, *containers], check=False, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(("wanted", "taken"), [("auto", "runsc"), ("runc", "runc")])
async def test_containers_run_on_gvisor_where_it_is_offered(
    gvisor_server: DockerServer, wanted: str, taken: str
) -> None:
    sandbox = await open_sandbox(
        "docker", docker_host=gvisor_server.url, clock=SystemClock(), risk_policy=FEARLESS,
        runtime=wanted,
    )  # fmt: skip
    try:
        status = await sandbox.check()
        assert (await sandbox.run(ExecutionRequest("print(6 * 7)"))).stdout == "42\n"
        assert runtimes_of_containers(gvisor_server) == {taken}
        assert ("own-kernel" in status.layers) == (taken == "runsc")
        assert status.version.endswith(f"with {taken}")
    finally:
        await sandbox.close()


async def test_a_runtime_that_the_engine_lacks_is_refused(gvisor_server: DockerServer) -> None:
    with pytest.raises(SandboxUnavailableError, match=r"no runtime 'kata'; it has: .*runsc"):
        await open_sandbox(
            "docker", docker_host=gvisor_server.url, clock=SystemClock(), runtime="kata"
        )
