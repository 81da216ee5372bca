"""Sagas side by side with DBOS and with the bare drivers, in one run.

Three steps that do nothing. Ours keeps its full audit trail, its metrics and SQLite's synchronous
FULL; DBOS runs as it comes, with SQLite set to WAL by hand, and on PostgreSQL, from its own venv.
The contenders take turns in rounds, each in a process of its own on a database of its own, so
that whatever else the machine does falls on all of them; figures are medians over the rounds.
DBOS is asked for its throughput in every way it offers (threads and asyncio, 50 and 1,000 at
once), and the best of all counts as its best. What it records is less: no audit trail and no
compensations.

Run it by ``make bench-saga``: about 12 minutes on 2 cores, and 6 GB of disk for the store of a
million finished sagas. ``BENCH_ARGS='--rounds 1 --finished 10000'`` shortens it; ``--filled FILE``
takes a store that ``python -m benchmarks.saga.finished FILE 1000000`` has filled. It ends with one
line: ``RATIOS {…}``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.services.postgres_server import PostgresServer, start_postgres
from tests.services.process import ServiceMissingError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Figures = dict[str, float]


@dataclass
class Bench:
    folder: Path
    dbos_python: Path
    postgres: PostgresServer | None
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    databases: int = 0

    def sqlite(self) -> str:
        self.databases += 1
        return f"sqlite:///{self.folder / f'{self.databases}.db'}"

    def postgresql(self) -> str | None:
        return self.postgres.create_database() if self.postgres else None

    def run(self, name: str, *command: str) -> Figures:
        finished = subprocess.run(
            command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=1200
        )
        if finished.returncode != 0:
            raise SystemExit(f"{name}: {finished.stderr[-2000:]}")
        result: Figures = json.loads(finished.stdout.strip().splitlines()[-1])
        print(f"{name:44}", *(f"{key} {value:,.1f}" for key, value in result.items()), flush=True)
        for key, value in result.items():
            self.figures[f"{name}: {key}"].append(value)
        return result

    def ours(self, name: str, url: str, mode: str, count: int) -> Figures:
        return self.run(
            f"ours {name}", sys.executable, "-m", "benchmarks.saga.ours", url, mode, str(count)
        )

    def dbos(self, name: str, url: str, journal: str, mode: str, count: int) -> Figures:
        script = str(HERE / "dbos_workflows.py")
        return self.run(
            f"DBOS {name}", str(self.dbos_python), script, url, journal, mode, str(count)
        )

    def raw(self, name: str, url: str, count: int) -> Figures:
        return self.run(f"raw {name}", sys.executable, "-m", "benchmarks.saga.raw", url, str(count))


def one_round(bench: Bench, at_once: int) -> None:
    bench.ours("SQLite, one by one", bench.sqlite(), "one", 200)
    for journal in ("default", "wal"):
        bench.dbos(f"SQLite {journal}, one by one", bench.sqlite(), journal, "one", 100)
    bench.ours(f"SQLite, {at_once} at once", bench.sqlite(), "many", at_once)
    for journal in ("default", "wal"):
        for way in ("threads", "async"):
            for count in (50, at_once):
                name = f"SQLite {journal}, {way}, {count} at once"
                bench.dbos(name, bench.sqlite(), journal, way, count)
    bench.raw("sqlite3", bench.sqlite(), 100_000)
    if bench.postgres is None:
        return
    bench.ours("PostgreSQL, one by one", str(bench.postgresql()), "one", 200)
    bench.dbos("PostgreSQL, one by one", str(bench.postgresql()), "default", "one", 100)
    bench.ours(f"PostgreSQL, {at_once} at once", str(bench.postgresql()), "many", at_once)
    for way in ("threads", "async"):
        for count in (50, at_once):
            name = f"PostgreSQL, {way}, {count} at once"
            bench.dbos(name, str(bench.postgresql()), "default", way, count)
    bench.raw("asyncpg", str(bench.postgresql()), 50_000)


def with_many_finished(bench: Bench, finished: int, filled: Path | None) -> None:
    url = f"sqlite:///{filled}" if filled else bench.sqlite()
    if filled is None:
        path = url.removeprefix("sqlite:///")
        command = [sys.executable, "-m", "benchmarks.saga.finished", path, str(finished)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for _ in range(3):
        bench.ours("SQLite, empty store, one by one", bench.sqlite(), "one", 200)
        bench.ours("SQLite, full store, one by one", url, "one", 200)


def ratios(bench: Bench, at_once: int) -> Figures:
    medians = {name: median(values) for name, values in bench.figures.items()}

    def dbos(key: str) -> list[float]:
        return [v for name, v in medians.items() if name.startswith("DBOS") and name.endswith(key)]

    sagas = medians[f"ours SQLite, {at_once} at once: sagas_per_s"]
    raw = medians["raw sqlite3: checkpoints_per_s"]
    checkpoints = sagas * 4  # start and first intent; two steps and the next; the last and the end
    return {
        "p50_ms": round(medians["ours SQLite, one by one: p50_ms"], 2),
        "dbos_best_p50_ms": round(min(dbos(": p50_ms")), 2),
        "sagas_per_s": round(sagas, 1),
        "sagas_vs_dbos_best": round(sagas / max(dbos(": sagas_per_s")), 2),
        "checkpoints_vs_raw_sqlite": round(checkpoints / raw, 3),
        "p50_at_1m_vs_empty": round(
            medians["ours SQLite, full store, one by one: p50_ms"]
            / medians["ours SQLite, empty store, one by one: p50_ms"], 2,
        ),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dbos-python", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--memory", type=int, default=10_000, help="Sagas at once, or 0.")
    parser.add_argument("--filled", type=Path, help="A store that benchmarks.saga.finished made.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-saga-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            (folder / "postgres").mkdir()
            postgres = start_postgres(folder / "postgres")
        except ServiceMissingError as missing:
            print(f"without PostgreSQL: {missing}")
            postgres = None
        bench = Bench(folder, given.dbos_python, postgres)
        try:
            for _ in range(given.rounds):
                one_round(bench, given.at_once)
            if given.memory:
                for count in (given.memory // 10, given.memory):
                    bench.ours(f"SQLite, memory, {count} at once", bench.sqlite(), "many", count)
            with_many_finished(bench, given.finished, given.filled)
        finally:
            if postgres is not None:
                postgres.stop()
        print("\nmedians of", given.rounds, "rounds")
        for title, values in bench.figures.items():
            print(f"{title:64} {median(values):12,.2f}   ({min(values):,.2f} … {max(values):,.2f})")
        print("RATIOS", json.dumps(ratios(bench, given.at_once)))


if __name__ == "__main__":
    main()
