"""Profiles: what programs find to import, on both back ends, under the same walls."""

import shutil
import sys
from collections.abc import AsyncIterator, Iterable
from importlib.metadata import distribution
from pathlib import Path

import anyio
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import InvalidInputError, SandboxUnavailableError
from mcp_orchestrator.sandbox import (
    ExecutionRequest,
    ExecutionResult,
    Limits,
    Profiles,
    RunStatus,
    Sandbox,
    TestRequest,
    build_image,
    open_sandbox,
)
from tests.conftest import require
from tests.sandbox_fixtures import FEARLESS
from tests.services.docker_engine import IMAGE, DockerServer
from tests.services.process import ServiceMissingError

PRELOAD = ("numpy", "pandas", "matplotlib.pyplot", "no_such_module")
LIMITS = Limits(memory_bytes=512 << 20, wall_seconds=60, cpu_seconds=60)
#: What `data` is made of, from this project's own environment; nothing is downloaded.
DISTRIBUTIONS = ("numpy", "pandas", "matplotlib")
_GUESTS_PYTHON = (3, 11)  # Debian's, in the image


def with_what_they_need(names: Iterable[str]) -> set[str]:
    """Return distributions and all that they require, as it is installed here."""
    found: set[str] = set()
    left = [canonicalize_name(name) for name in names]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            wanted = map(Requirement, distribution(name).requires or [])
            left += [
                canonicalize_name(each.name)
                for each in wanted
                if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


def copy_packages(target: Path) -> None:
    """Put the distributions' files where the image's Python looks for packages."""
    if sys.version_info[:2] != _GUESTS_PYTHON:
        raise ServiceMissingError("the image's Python 3.11 for packages with code in C")
    for name in with_what_they_need(DISTRIBUTIONS):
        for file in distribution(name).files or []:
            if ".." not in file.parts and "tests" not in file.parts:
                place = target / str(file)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), place)


async def build_data_image(server: DockerServer, folder: Path) -> str:
    """Build an image from a Dockerfile on top of the plain one, which needs no registry."""
    require(lambda: copy_packages(folder / "packages"))
    lines = f"FROM {IMAGE}\nCOPY packages /usr/local/lib/python3.11/dist-packages\n"
    (folder / "Dockerfile").write_text(lines)
    digest = await build_image("profile-of-tests:1", docker_host=server.url, folder=folder)
    assert digest.startswith("sha256:")
    return "profile-of-tests:1"


@pytest.fixture(scope="module", params=["bubblewrap", "docker"])
async def data(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Sandbox]:
    """A sandbox with a profile `data`, and one that is not what it should be."""
    url, source = None, sys.prefix
    if request.param == "docker":
        server: DockerServer = request.getfixturevalue("docker_server")
        url = server.url
        source = await build_data_image(server, tmp_path_factory.mktemp("image"))
    profiles = Profiles({"data": source, "broken": "/nowhere/at:all"}, PRELOAD)
    sandbox = await open_sandbox(
        request.param, docker_host=url, clock=SystemClock(), profiles=profiles, warm=1,
        risk_policy=FEARLESS,
    )  # fmt: skip
    yield sandbox
    await sandbox.close()


async def run(sandbox: Sandbox, code: str) -> ExecutionResult:
    return await sandbox.run(ExecutionRequest(code, profile="data", limits=LIMITS))


async def test_numpy_and_pandas_calculate_under_the_filter(data: Sandbox) -> None:
    code = (
        "import numpy as np, pandas as pd\n"
        "a = np.arange(10_000.0).reshape(100, 100)\n"
        "print(int(np.linalg.matrix_rank(a)), float(np.fft.fft(a).real[0, 0]))\n"
        "frame = pd.DataFrame({'day': pd.date_range('2026-01-01', periods=6), 'x': range(6)})\n"
        "print(frame.set_index('day').rolling(3).mean().x.dropna().tolist())\n"
        "frame.to_csv('f.csv', index=False); print(pd.read_csv('f.csv').x.sum())\n"
        "print(frame.groupby(frame.x % 2).x.sum().to_dict())\n"
    )
    result = await run(data, code)
    assert result.status is RunStatus.OK, result
    expected = ["2 4950.0", "[1.0, 2.0, 3.0, 4.0]", "15", "{0: 6, 1: 9}"]
    assert result.stdout.splitlines() == expected


async def test_plots_come_out_saved_or_not(data: Sandbox) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\n"
    shown = await run(data, code + "plt.show()")
    assert [(each.path, each.media_type) for each in shown.artifacts] == [
        ("figure-1.png", "image/png")
    ], shown
    saved = await run(data, code + "plt.savefig('squares.png')")
    assert [each.path for each in saved.artifacts] == ["squares.png"]


async def test_what_is_started_inside_finds_the_packages_too(data: Sandbox) -> None:
    code = (
        "import subprocess, sys\n"
        "print(subprocess.run([sys.executable, '-c', 'import numpy; print(numpy.ones(3).sum())'],\n"
        "                     capture_output=True, text=True))\n"
    )
    assert "3.0" in (await run(data, code)).stdout


async def test_tests_and_sessions_take_a_profile(data: Sandbox) -> None:
    code = "import numpy as np\ndef mean(xs):\n    return np.mean(xs)\n"
    tests = "import pytest\ndef test_it():\n    assert mean([1, 3]) == pytest.approx(2)\n"
    request = TestRequest(code, tests, limits=LIMITS, profile="data", coverage=True)
    report = await data.run_tests(request)
    assert report.all_passed, report
    assert report.coverage is not None
    assert report.coverage.percent == 100
    session = (await data.open_session(LIMITS, profile="data")).session_id
    for code, output in (("import numpy as np; x = np.ones(2)", ""), ("print(x.sum())", "2.0\n")):
        done = await data.run(ExecutionRequest(code, limits=LIMITS), session_id=session)
        assert done.stdout == output, done
    await data.close_session(session)


async def test_the_plain_profile_has_none_of_it_and_the_walls_are_the_same(data: Sandbox) -> None:
    plain = await data.run(ExecutionRequest("import numpy"))
    assert "ModuleNotFoundError" in plain.stderr
    code = "import os\nprint(sorted(os.environ))\nopen(os.__file__ + 'x', 'w')"
    result = await run(data, code)
    assert set(result.layers) == set(plain.layers)
    assert "SANDBOX_PRELOAD" not in result.stdout
    assert "Read-only file system" in result.stderr


async def test_an_unknown_or_missing_profile_is_refused_with_the_remedy(data: Sandbox) -> None:
    assert data.profiles == ("plain", "data", "broken")
    with pytest.raises(InvalidInputError, match="plain, data, broken"):
        await data.run(ExecutionRequest("1", profile="quantum"))
    with pytest.raises(SandboxUnavailableError, match="sandbox build"):
        await data.run(ExecutionRequest("1", profile="broken"))


async def test_first_runs_at_the_same_time_share_a_profiles_pool() -> None:
    sandbox = await open_sandbox(
        "bubblewrap", clock=SystemClock(), profiles=Profiles({"data": sys.prefix}), warm=0
    )
    before = sandbox.pool.misses
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(run, sandbox, "print(1)")
    assert sandbox.pool.misses == before + 3, "no pool was put in another's place"
    await sandbox.close()
