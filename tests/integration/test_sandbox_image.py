"""`sandbox build` on a real engine: our Dockerfile, on a base image that is made here."""

import ensurepip
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.sandbox import ExecutionRequest, RunStatus, TestRequest, open_sandbox
from mcp_orchestrator.sandbox.docker.engine import DockerEngine
from tests.conftest import require
from tests.services.docker_engine import DockerServer, root_file_system
from tests.services.orchestrator import command, environment
from tests.services.process import ServiceMissingError

BASE = "python-of-tests:1"
BUILT = "built-from-our-dockerfile:1"
#: The image's own installer finds nothing but what was put beside it.
_CONFIGURATION = """[global]
no-index = true
find-links = /opt/wheels
break-system-packages = true
disable-pip-version-check = true
"""
_GUESTS_PYTHON = "3.11"  # Debian's


def download_wheels(folder: Path) -> None:
    """Fetch what the Dockerfile installs, for the Python of the base image."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder),
            "--only-binary=:all:", "--python-version", _GUESTS_PYTHON,
            "--platform", f"manylinux_2_28_{platform.machine()}", "pytest>=9.0", "coverage>=7.11",
        ],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode != 0:
        raise ServiceMissingError(f"the packages of the image: {done.stderr[-300:]}")


def add_pip(root: Path, folder: Path) -> None:
    """Add an installer with packages to install to a packed root file system."""
    wheels = folder / "opt" / "wheels"
    wheels.mkdir(parents=True)
    require(lambda: download_wheels(wheels))
    bundled = next(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
    shutil.copy(bundled, wheels)
    pip = folder / "usr" / "local" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text(f'#!/bin/sh\nexec python3 /opt/wheels/{bundled.name}/pip "$@"\n')
    pip.chmod(0o755)
    (folder / "etc").mkdir()
    (folder / "etc" / "pip.conf").write_text(_CONFIGURATION)
    with tarfile.open(root, "a") as archive:
        for each in ("opt/wheels", "usr/local/bin/pip", "etc/pip.conf"):
            archive.add(folder / each, f"./{each}")


@pytest.fixture
def base_image(docker_server: DockerServer, tmp_path: Path) -> str:
    """An image with Python and pip that needs no registry."""
    root = tmp_path / "root.tar"
    shutil.copyfile(root_file_system(), root)
    add_pip(root, tmp_path / "added")
    engine = DockerEngine(docker_server.url)
    try:
        engine.import_image(root, BASE)
    finally:
        engine.close()
        root.unlink()
    return BASE


async def test_our_dockerfile_builds_and_what_it_makes_runs_programs_and_tests(
    docker_server: DockerServer, base_image: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        command("sandbox", "build", "--tag", BUILT, "--base", base_image),
        env=environment(tmp_path, DOCKER_HOST=docker_server.url),
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{BUILT} sha256:")
    sandbox = await open_sandbox(
        "docker", docker_host=docker_server.url, image=BUILT, clock=SystemClock(), warm=0
    )
    try:
        result = await sandbox.run(ExecutionRequest("import pytest; print(pytest.__version__)"))
        assert result.status is RunStatus.OK, result
        assert int(result.stdout.partition(".")[0]) >= 9
        tests = "import pytest\ndef test_it(tmp_path):\n    assert x == 1\n"
        report = await sandbox.run_tests(TestRequest("x = 1", tests))
        assert report.all_passed, report
    finally:
        await sandbox.close()
