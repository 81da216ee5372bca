"""Many runs in a row leave nothing behind: SANDBOX_LEAK_RUNS=2000 for the long form."""

# What goes away in the background has no event to offer.
# ruff: noqa: ASYNC110

import gc
import os
from collections.abc import Callable, Iterator
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


class Census:
    """Counts what belongs to this test; others may run engines and sandboxes on this machine."""

    def __init__(self, server: DockerServer | None) -> None:
        self._folder = server.folder if server is not None else None
        self.engine = DockerEngine(server.url) if server is not None else None
        self._known: set[str] = set()  # our containers' ids, and our launchers' prefixes

    def take(self) -> Belongings:
        """Count, and remember by name what may not be there in the end."""
        children = _descendants(os.getpid())
        containers = [each for each, _ in self.engine.labelled()] if self.engine else []
        self._known |= {*containers, *(f"mcpo-{child}-" for child in children)}
        groups = [name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return Belongings(
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            children=len(children),
            zombies=sum(_state(child) == "Z" for child in children),
            mounts=sum(str(self._folder or "/newroot") in line for line in mounts),
            groups=sum(name.startswith(tuple(self._known)) for name in groups),
            files=sum(1 for _ in self._files()),
            containers=len(containers),
        )

    def _files(self) -> Iterator[Path]:
        return (self._folder / "data" / "containers").iterdir() if self._folder else iter(())

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()


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


async def settled(census: Census, wanted: Callable[[Belongings], bool]) -> None:
    """Wait until what goes away in the background has gone."""
    with anyio.fail_after(60):
        while not wanted(census.take()):
            await anyio.sleep(0.05)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backend", ["bubblewrap", "docker"])
async def test_runs_leave_nothing_behind(backend: str, request: pytest.FixtureRequest) -> None:
    server: DockerServer | None = None
    if backend == "docker":
        server = request.getfixturevalue("docker_server")
    census = Census(server)
    before = census.take()
    sandbox = await open_sandbox(
        "docker" if backend == "docker" else "bubblewrap",
        docker_host=server.url if server is not None else None,
        clock=SystemClock(), risk_policy=FEARLESS, warm=2,
    )  # fmt: skip

    async def run(number: int) -> None:
        code = PROGRAMS[number % len(PROGRAMS)]
        result = await sandbox.run(ExecutionRequest(code))
        expected = RunStatus.ERROR if code == "1 / 0" else RunStatus.OK
        assert result.status is expected, result
        if number % 10 == 0:
            census.take()

    try:
        for number in range(WARM_UP):
            await run(number)
        descriptors, resident = census.take().descriptors, resident_bytes()
        for number in range(RUNS):
            await run(number)
        most = descriptors + 4  # a pool of two waits, and a few more may be on their way out
        await settled(census, lambda now: now.zombies <= before.zombies and now.descriptors <= most)
        assert resident_bytes() - resident < MOST_GROWTH_BYTES
    finally:
        await sandbox.close()
    await settled(census, lambda now: now == before)
    census.close()
