"""Many runs in a row leave nothing behind: SANDBOX_LEAK_RUNS=2000 for the long form."""

# What goes away in the background has no event to offer.
# ruff: noqa: ASYNC110

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.sandbox import ExecutionRequest, RunStatus, open_sandbox
from mcp_orchestrator.sandbox.docker.engine import DockerEngine
from tests.sandbox_fixtures import FEARLESS
from tests.services.docker_engine import DockerServer

RUNS = int(os.environ.get("SANDBOX_LEAK_RUNS", "40"))
WARM_UP = 20
#: What the allocator may keep: a leak of 8 KiB a run shows in 2,000 runs.
MOST_GROWTH_BYTES = 16 << 20
#: Programs of every kind: a file made, a daemon left running, an error, a fork.
PROGRAMS = (
    "print(1)",
    "open('made.txt', 'w').write('x' * 10000)",
    "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(60)\n",
    "1 / 0",
    "import tempfile; tempfile.mkdtemp(); print('y' * 70000)",
)


@dataclass(frozen=True)
class Belongings:
    """What this process and its sandboxes hold on this machine."""

    descriptors: int
    children: int
    zombies: int
    mounts: int
    groups: int
    files: int
    containers: int


def count(engine: DockerEngine | None, folder: Path | None) -> Belongings:
    children = _descendants(os.getpid())
    groups = sum(
        name.startswith(f"mcpo-{child}-") or (folder is not None and len(name) == 64)
        for _, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        for child in (children if name.startswith("mcpo-") else [0])
    )
    containers = folder / "data" / "containers" if folder is not None else None
    return Belongings(
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        children=len(children),
        zombies=sum(_state(child) == "Z" for child in children),
        mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
        groups=groups,
        files=sum(1 for _ in containers.iterdir()) if containers else 0,
        containers=len(engine.labelled()) if engine is not None else 0,
    )


def _descendants(process_id: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    for child in parents.get(process_id, []):
        found += [child, *(each for each in parents.get(child, []))]
    return found


def _state(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def settled(look: Callable[[], Belongings], wanted: Callable[[Belongings], bool]) -> None:
    """Wait until what goes away in the background has gone."""
    with anyio.fail_after(60):
        while not wanted(look()):
            await anyio.sleep(0.05)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backend", ["bubblewrap", "docker"])
async def test_runs_leave_nothing_behind(backend: str, request: pytest.FixtureRequest) -> None:
    engine, folder, url = None, None, None
    if backend == "docker":
        server: DockerServer = request.getfixturevalue("docker_server")
        engine, folder, url = DockerEngine(server.url), server.folder, server.url
        engine.labelled()  # its connection is open from now on
    before = count(engine, folder)
    sandbox = await open_sandbox(
        "docker" if backend == "docker" else "bubblewrap",
        docker_host=url, clock=SystemClock(), risk_policy=FEARLESS, warm=2,
    )  # fmt: skip

    async def run(number: int) -> None:
        code = PROGRAMS[number % len(PROGRAMS)]
        result = await sandbox.run(ExecutionRequest(code))
        expected = RunStatus.ERROR if code == "1 / 0" else RunStatus.OK
        assert result.status is expected, result

    try:
        for number in range(WARM_UP):
            await run(number)
        descriptors, resident = count(engine, folder).descriptors, resident_bytes()
        for number in range(RUNS):
            await run(number)
        # A pool of two waits, and a few more may be on their way out.
        await settled(
            lambda: count(engine, folder),
            lambda now: now.zombies == 0 and now.descriptors <= descriptors + 4,
        )
        assert resident_bytes() - resident < MOST_GROWTH_BYTES
    finally:
        await sandbox.close()
    await settled(lambda: count(engine, folder), lambda now: now == before)
    if engine is not None:
        engine.close()
