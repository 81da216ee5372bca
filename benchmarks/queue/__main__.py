"""Run the contest: every contestant in its own process and environment, in interleaved rounds.

BENCH_ROUNDS, BENCH_TASKS and BENCH_BACKLOG change how much is measured.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.services.redis_server import start_redis

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
TASKS = int(os.environ.get("BENCH_TASKS", "5000"))
#: How often the drain of a long backlog is compared with that of a short one.
TURNS = 15
#: Each turn takes a thousand of those that wait, and some are to be left.
BACKLOG = max(int(os.environ.get("BENCH_BACKLOG", "500000")), (TURNS + 1) * 1000)
#: How long a drain shows what a worker's memory does.
LONG_DRAIN = min(BACKLOG, 100_000)
WAKES = 40
#: Redis would rewrite its append-only file after a long fill, on the cores that are measured.
NO_REWRITE = ("--auto-aof-rewrite-percentage", "0")
PEERS = ("arq", "taskiq", "saq", "streaq", "docket")
SCRIPTS = Path(__file__).parent / "contestants"
ENVIRONMENTS = Path(os.environ.get("BENCH_ENVIRONMENTS", ".cache/bench-queue")).resolve()
#: The longest one measurement may take, in seconds.
PATIENCE = int(os.environ.get("BENCH_PATIENCE", "120"))

#: Least and most of each figure.
GOALS = {
    "drain_vs_best_peer": (4, math.inf), "drain_vs_raw": (0.4, math.inf),
    "enqueue_vs_best_peer": (1.5, math.inf), "enqueue_batched_per_s": (60_000, math.inf),
    "wake_vs_best_peer": (0, 1), "sqlite_drain_per_s": (2000, math.inf),
    "drain_500k_vs_1k": (0.8, 1.2),
}  # fmt: skip

Figures = dict[str, list[float]]


@contextmanager
def fresh_redis() -> Generator[str]:
    """Start an empty Redis, append-only file on; a database of its own for each measurement."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = start_redis(Path(folder), options=NO_REWRITE)
        try:
            yield server.url
        finally:
            server.stop()


def command(name: str, mode: str, url: str, *numbers: int) -> list[str]:
    python = str(ENVIRONMENTS / name / "bin" / "python") if name in PEERS else sys.executable
    return [python, str(SCRIPTS / f"run_{name}.py"), mode, url, *map(str, numbers)]


def measure(name: str, mode: str, url: str, *numbers: int) -> dict[str, Any]:
    ended = subprocess.run(
        command(name, mode, url, *numbers),
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        raise SystemExit(f"{name} {mode} failed:\n{ended.stderr[-3000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def wake_times(name: str, url: str) -> list[float]:
    """Return how long each of some tasks waited for an idle worker in another process, in ms."""
    with subprocess.Popen(
        command(name, "work", url, WAKES),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        for line in worker.stdout:
            if line.strip() == "READY":
                break
        measure(name, "produce", url, WAKES)
        last = worker.stdout.read().splitlines()[-1]
    waits: list[float] = json.loads(last)["waits_ms"]
    return waits


def one_round(figures: dict[str, Figures]) -> None:
    for name in ("raw", "ours", *PEERS):
        with fresh_redis() as url:
            rates = measure(name, "enqueue", url, TASKS // 2, TASKS * 4)
        figures[name]["enqueue"].append(rates["one_by_one"])
        if rates["batched"] is not None:
            figures[name]["batched"].append(rates["batched"])
    for name in ("raw", "ours", *PEERS):
        with fresh_redis() as url:
            tasks = TASKS if name in PEERS else TASKS * 4
            drained = measure(name, "drain", url, tasks, tasks)
        figures[name]["drain"].append(drained["rate"])
        figures[name]["cpu"].append(drained["cpu_us"])
    for name in ("ours", *PEERS):
        with fresh_redis() as url:
            figures[name]["wake"] += wake_times(name, url)
    with tempfile.TemporaryDirectory() as folder:
        place = f"sqlite:{Path(folder) / 'bench.db'}"
        figures["sqlite"]["drain"].append(measure("ours", "drain", place, TASKS, TASKS)["rate"])


def backlog_ratio() -> float:
    """Return the drain rate over a long backlog in relation to that over a short one."""
    few: list[float] = []
    many: list[float] = []
    with fresh_redis() as long_queue:
        measure("ours", "fill", long_queue, BACKLOG)
        for _ in range(TURNS):  # in turns, so that both meet the same machine
            with fresh_redis() as url:
                few.append(measure("ours", "drain", url, 1000, 1000)["rate"])
            many.append(measure("ours", "drain", long_queue, 0, 1000)["rate"])
    print(f"drain of 1,000: {min(few):,.0f} to {max(few):,.0f}/s alone;"
          f" {min(many):,.0f} to {max(many):,.0f}/s of {BACKLOG:,} waiting")  # fmt: skip
    return statistics.median(many) / statistics.median(few)


def show_memory() -> None:
    """Print what a worker's memory does over a long drain, on Redis and on SQLite."""
    with fresh_redis() as url, tempfile.TemporaryDirectory() as folder:
        for name, place in (("Redis", url), ("SQLite", f"sqlite:{Path(folder) / 'bench.db'}")):
            drained = measure("ours", "drain", place, LONG_DRAIN, LONG_DRAIN)
            print(f"memory of a worker on {name}: {drained['memory_after_quarter']:.1f} MB after a"
                  f" quarter of {LONG_DRAIN:,} tasks, {drained['memory_at_end']:.1f} MB at the end"
                  f" ({drained['rate']:,.0f}/s)")  # fmt: skip


def say_what_is_missed(ratios: dict[str, float]) -> None:
    for name, (least, most) in GOALS.items():
        if not least <= ratios[name] <= most:
            print(f"MISSED: {name} is {ratios[name]:.3f}, the goal is {least:g} to {most:g}")


def main() -> None:
    figures: dict[str, Figures] = defaultdict(lambda: defaultdict(list))
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        one_round(figures)
    middle = {
        name: {what: statistics.median(values) for what, values in found.items()}
        for name, found in figures.items()
    }
    print(f"{'median of rounds':<18}{'add/s':>9}{'batched/s':>11}{'drain/s':>9}"
          f"{'CPU µs/task':>13}{'wake ms':>9}")  # fmt: skip
    for name, found in middle.items():
        cells = [
            f"{found[what]:,.{digits}f}" if what in found else "-"
            for what, digits in (
                ("enqueue", 0), ("batched", 0), ("drain", 0), ("cpu", 0), ("wake", 2),
            )
        ]  # fmt: skip
        print(f"{name:<18}{cells[0]:>9}{cells[1]:>11}{cells[2]:>9}{cells[3]:>13}{cells[4]:>9}")
    ours, raw = middle["ours"], middle["raw"]

    def best(what: str) -> float:
        return max(middle[peer][what] for peer in PEERS)

    ratios = {
        "drain_vs_best_peer": ours["drain"] / best("drain"),
        "drain_vs_raw": ours["drain"] / raw["drain"],
        "enqueue_vs_best_peer": ours["enqueue"] / best("enqueue"),
        "enqueue_batched_per_s": ours["batched"],
        "wake_ms": ours["wake"],
        "wake_vs_best_peer": ours["wake"] / min(middle[peer]["wake"] for peer in PEERS),
        "sqlite_drain_per_s": middle["sqlite"]["drain"],
        "drain_500k_vs_1k": backlog_ratio(),
    }
    show_memory()
    say_what_is_missed(ratios)
    print("RATIOS " + json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
