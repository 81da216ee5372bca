"""Start latency and throughput of every cell, in one run on one machine.

BENCH_RUNS and BENCH_SECONDS change how much is measured. Docker's cells need dockerd and root: an
engine of the bench's own is started, so that nothing else on the machine is touched.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.sandbox import ExecutionRequest, Limits, RiskPolicy, Sandbox, open_sandbox
from mcp_orchestrator.sandbox.bubblewrap.installation import find_installation
from tests.services.docker_engine import IMAGE, DockerServer, start_docker
from tests.services.process import ServiceMissingError

RUNS = int(os.environ.get("BENCH_RUNS", "60"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "5"))
CONCURRENCY = 4
CODE = "print('first', flush=True)"
PEER_IMAGE = "bench-peer:latest"
PEER_PYTHON = Path(os.environ.get("BENCH_PEER", ".cache/bench-sandbox/bin/python"))
FEARLESS = RiskPolicy(101, 101)
#: What Docker's own command line is given, so that it isolates as we do.
HARDENED = (
    "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--memory=256m", "--pids-limit=64",
    "--security-opt=no-new-privileges", "--user=65534:65534", "--tmpfs=/tmp",
)  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """Times in milliseconds, and runs a second."""

    first: list[float]
    result: list[float]
    rate: float

    def row(self, name: str) -> str:
        cells = [*spread(self.first), *spread(self.result)]
        return f"{name:<28}" + "".join(f"{each:>10.2f}" for each in cells) + f"{self.rate:>10.1f}"


def spread(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


async def measure_ours(backend: str, url: str | None, *, warm: bool) -> Figures:
    """Measure one run after another, then four at a time for some seconds."""
    slow = backend == "docker"
    size = (8 if slow else 6) if warm else 0
    sandbox = await open_sandbox(
        "docker" if slow else "bubblewrap",
        docker_host=url, clock=SystemClock(), risk_policy=FEARLESS, warm=size,
    )  # fmt: skip
    try:
        await one_of_ours(sandbox)
        first: list[float] = []
        result: list[float] = []
        for _ in range(RUNS if not slow else RUNS // 2):
            if warm:
                await anyio.sleep(1.0 if slow else 0.05)  # the pool fills up again
            times = await one_of_ours(sandbox)
            first.append(times[0] * 1000)
            result.append(times[1] * 1000)
        return Figures(first, result, await rate_of_ours(sandbox))
    finally:
        await sandbox.close()


async def one_of_ours(sandbox: Sandbox) -> tuple[float, float]:
    seen: list[float] = []
    began = time.perf_counter()
    request = ExecutionRequest(CODE, limits=replace(Limits()))
    done = await sandbox.run(
        request, listener=lambda _stream, _text: seen.append(time.perf_counter())
    )
    ended = time.perf_counter()
    assert done.stdout == "first\n", done
    return seen[0] - began, ended - began


async def rate_of_ours(sandbox: Sandbox) -> float:
    count = 0
    began = time.perf_counter()

    async def keep_on() -> None:
        nonlocal count
        while time.perf_counter() - began < SECONDS:
            await one_of_ours(sandbox)
            count += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(CONCURRENCY):
            tasks.start_soon(keep_on)
    return count / (time.perf_counter() - began)


def measure_command(command: list[str], runs: int, environment: dict[str, str]) -> Figures:
    """Measure a command line that prints one line and ends."""

    def one() -> tuple[float, float]:
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            first = time.perf_counter() - began
            process.wait()
        assert line == b"first\n", line
        return first, time.perf_counter() - began

    one()
    times = [one() for _ in range(runs)]
    return Figures([t[0] * 1000 for t in times], [t[1] * 1000 for t in times], rate_of(one))


def rate_of(one: Callable[[], object]) -> float:
    count = 0
    began = time.perf_counter()

    async def keep_on() -> None:
        nonlocal count
        while time.perf_counter() - began < SECONDS:
            await anyio.to_thread.run_sync(one)
            count += 1

    async def all_of_them() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(CONCURRENCY):
                tasks.start_soon(keep_on)

    anyio.run(all_of_them)
    return count / (time.perf_counter() - began)


def measure_peer(cell: str, url: str | None) -> Figures | None:
    """Measure llm-sandbox; None, with its complaint shown, where it does not run."""
    bwrap = str(Path(find_installation().bwrap).parent)
    environment = {"PATH": f"{bwrap}:{os.environ['PATH']}", "HOME": "/tmp"}
    if url is not None:
        environment["DOCKER_HOST"] = url
    runs = RUNS if cell == "bubblewrap-cold" else max(5, RUNS // 6)
    script = Path(__file__).with_name("llm_sandbox_peer.py")
    command = [str(PEER_PYTHON), str(script), cell, PEER_IMAGE, str(runs), str(SECONDS)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=600
    )
    if done.returncode != 0:
        print(f"llm-sandbox {cell} did not run: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def docker_engine() -> Generator[DockerServer | None]:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        try:
            server = start_docker(Path(folder))
        except ServiceMissingError as missing:
            print(f"Without Docker: {missing}")
            yield None
            return
        try:
            add_peer_image(server.url)
            yield server
        finally:
            server.stop()


def add_peer_image(url: str) -> None:
    """Make the same image with a `python` where llm-sandbox and its pool look for one."""
    docker = ["docker", "-H", url]
    venv = "/sandbox/.sandbox-venv/bin"
    links = f"ln -s python3 /usr/bin/python; mkdir -p {venv}; ln -s /usr/bin/python3 {venv}/python"
    subprocess.run(
        [*docker, "run", "--name=peer", "--network=none", IMAGE, "sh", "-c", links], check=True
    )
    commit = ["commit", '--change=CMD ["bash"]', "peer", PEER_IMAGE]
    subprocess.run([*docker, *commit], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*docker, "rm", "peer"], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    found: dict[str, Figures | None] = {}
    plain = {"PATH": os.environ["PATH"]}
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    found["bare subprocess"] = measure_command([python, "-I", "-c", CODE], RUNS, plain)
    found["bubblewrap warm"] = anyio.run(lambda: measure_ours("bubblewrap", None, warm=True))
    found["bubblewrap cold"] = anyio.run(lambda: measure_ours("bubblewrap", None, warm=False))
    found["llm-sandbox bubblewrap"] = measure_peer("bubblewrap-cold", None)
    with docker_engine() as server:
        if server is not None:
            url = server.url
            run = ["docker", "-H", url, "run", *HARDENED, IMAGE, "python3", "-I", "-c", CODE]
            found["docker run"] = measure_command(run, max(5, RUNS // 4), plain)
            found["docker warm"] = anyio.run(lambda: measure_ours("docker", url, warm=True))
            found["docker cold"] = anyio.run(lambda: measure_ours("docker", url, warm=False))
            found["llm-sandbox docker"] = measure_peer("docker-cold", url)
            found["llm-sandbox docker pool"] = measure_peer("docker-warm", url)
    report(found)


def report(found: dict[str, Figures | None]) -> None:
    heads = ("first p50", "p95", "result p50", "p95", "runs/s")
    print(f"{'ms':<28}" + "".join(f"{head:>10}" for head in heads))
    for name, figures in found.items():
        print(figures.row(name) if figures else f"{name:<28}   did not run")

    def median(name: str, what: str) -> float | None:
        figures = found.get(name)
        return round(statistics.median(getattr(figures, what)), 3) if figures else None

    warm, run = found.get("docker warm"), found.get("docker run")
    ours = found["bubblewrap warm"]
    ratios = {
        "bwrap_warm_first_ms": median("bubblewrap warm", "first"),
        "bwrap_warm_result_ms": median("bubblewrap warm", "result"),
        "bwrap_runs_per_s": round(ours.rate, 1) if ours else None,
        "docker_warm_first_ms": median("docker warm", "first"),
        "docker_warm_result_ms": median("docker warm", "result"),
        "docker_vs_plain_run": round(warm.rate / run.rate, 2) if warm and run else None,
        "vs_llm_sandbox_worst": worst(found),
    }
    print("RATIOS " + json.dumps(ratios))


#: Ours and theirs, of the same kind: each cell is compared by first output, result and throughput.
PAIRS = (
    ("bubblewrap cold", "llm-sandbox bubblewrap"),
    ("docker cold", "llm-sandbox docker"),
    ("docker warm", "llm-sandbox docker pool"),
)


def worst(found: dict[str, Figures | None]) -> float | None:
    """Return how much faster we are in the cell where we are worst; below 1 we are slower.

    Of each pair: their median time to the first output over ours, their median time to the result
    over ours, our runs a second over theirs; the least of all of them.
    """
    ratios: list[float] = []
    for ours, theirs in PAIRS:
        mine, other = found.get(ours), found.get(theirs)
        if mine is None or other is None:
            continue
        pairs = ((other.first, mine.first), (other.result, mine.result))
        ratios += [statistics.median(peer) / statistics.median(own) for peer, own in pairs]
        ratios.append(mine.rate / other.rate)
    return round(min(ratios), 2) if ratios else None


if __name__ == "__main__":
    main()
