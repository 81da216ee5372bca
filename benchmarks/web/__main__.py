"""What the HTTP API costs on a full store, and what listeners cost a busy server.

BENCH_FINISHED, BENCH_RUNNING, BENCH_LISTENERS and BENCH_SECONDS change how much is measured.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import anyio
import httpx2
from mcp import Client

from benchmarks.saga import ours
from benchmarks.saga.finished import copy_finished
from tests.services.orchestrator import HttpServer, call, http_server
from tests.services.process import stop_process
from tests.services.signed_in import bearer, make_token

FINISHED = int(os.environ.get("BENCH_FINISHED", "100000"))
RUNNING = int(os.environ.get("BENCH_RUNNING", "1000"))
LISTENERS = int(os.environ.get("BENCH_LISTENERS", "500"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
CLIENTS, ROUNDS, CALLS = 8, 3, 100
WAITS = [{"name": "ask", "action": "saga.wait_for_signal", "arguments": {"signal": "go"}}]
STEPS = [
    {
        "name": "flight",
        "action": "travel.reserve_flight",
        "arguments": {"origin": "ZRH", "destination": "LIS"},
    }
]
#: A moment, an owner and an end of its own for each of the copies.
SPREAD = """
UPDATE saga_checkpoints SET
  updated_at = strftime('%Y-%m-%d %H:%M:%f', 1700000000 + rowid, 'unixepoch') || '000',
  user_id = 'user' || (rowid % 100),
  error = CASE WHEN rowid % 50 = 0 THEN 'no seat was left' END,
  state = CASE WHEN rowid % 50 = 0 THEN 'failed' ELSE state END,
  goal = CASE WHEN rowid % 50 = 0 THEN 'failed' ELSE goal END
"""


async def fill(folder: Path) -> None:
    """Make a store with finished sagas."""
    path = folder / "orchestrator.db"
    await ours.main(f"sqlite:///{path}", "many", 1)
    copy_finished(str(path), FINISHED)
    with sqlite3.connect(path) as connection:
        guards = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
        for (name,) in connection.execute(guards, ("saga_checkpoints",)).fetchall():
            connection.execute(f"DROP TRIGGER {name}")  # completed sagas cannot become failed
        connection.execute(SPREAD)
    connection.close()


async def lists(folder: Path) -> dict[str, Any]:
    """Measure the saga list, as an administrator and as one user of a hundred."""
    tokens = {name: await make_token(folder, name, [scope]) for name, scope in USERS.items()}
    found: dict[str, Any] = {}
    with http_server(folder, MCP_ORCHESTRATOR_AUTH="token", **UNLIMITED) as server:
        for name, token in tokens.items():
            async with httpx2.AsyncClient(headers=bearer(token), timeout=60) as http:
                for query in ("", "state=running", "state=failed", "saga_type=bench", "limit=200"):
                    found[f"{name} {query or 'all'}"] = await timed(http, server, query)
    return found


USERS = {"root": "admin", "user7": "read"}
UNLIMITED = {"MCP_ORCHESTRATOR_REQUESTS_PER_MINUTE": "1000000"}


async def timed(http: httpx2.AsyncClient, server: HttpServer, query: str) -> dict[str, float]:
    """Return how long a list takes, in milliseconds."""
    times: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        answer = await http.get(server.url(f"/api/v1/sagas?{query}"))
        times.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text
    return {"p50_ms": round(median(times), 1), "p95_ms": round(quantiles(times, n=20)[-1], 1)}


async def start_waiting(folder: Path) -> None:
    """Start the sagas that are running while lists are asked for."""
    with http_server(folder) as server:
        async with Client(server.url("/mcp")) as client, anyio.create_task_group() as tasks:
            limit = anyio.Semaphore(CLIENTS)

            async def start() -> None:
                async with limit:
                    await call(client, "saga_start", {"name": "waits", "steps": WAITS})

            for _ in range(RUNNING):
                tasks.start_soon(start)


async def throughput(server: HttpServer) -> tuple[float, float]:
    """Return sagas started a second, and the server's CPU time for each in milliseconds."""
    started, cpu = 0, cpu_seconds(server)
    began = time.perf_counter()

    async def client_loop() -> None:
        nonlocal started
        async with Client(server.url("/mcp")) as client:
            while time.perf_counter() - began < SECONDS:
                await call(client, "saga_start", {"name": "trip", "steps": STEPS})
                started += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(CLIENTS):
            tasks.start_soon(client_loop)
    took = time.perf_counter() - began
    return started / took, (cpu_seconds(server) - cpu) / started * 1000


def cpu_seconds(server: HttpServer) -> float:
    """Return the CPU time that the server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def crowd(server: HttpServer) -> Generator[None]:
    """Let many listen, from a process of their own."""
    address = f"ws://127.0.0.1:{server.port}/ws/events?kinds=saga"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.web.crowd", address, str(LISTENERS)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"listening\n"
    try:
        yield
    finally:
        stop_process(process)
        process.stdout.close()


async def listeners(folder: Path) -> dict[str, Any]:
    """Measure what a server gets done without and with listeners, in turns."""
    alone: list[tuple[float, float]] = []
    heard: list[tuple[float, float]] = []
    with http_server(folder) as server:
        await throughput(server)  # warm
        for _ in range(ROUNDS):
            alone.append(await throughput(server))
            with crowd(server):
                heard.append(await throughput(server))
    rate = median(one[0] for one in alone), median(one[0] for one in heard)
    cost = median(one[1] for one in alone), median(one[1] for one in heard)
    return {
        "sagas_per_second": [round(one, 1) for one in rate],
        "server_cpu_ms_per_saga": [round(one, 2) for one in cost],
        "throughput_lost": round(1 - rate[1] / rate[0], 3),
        "cpu_added": round(cost[1] / cost[0] - 1, 3),
    }


async def main() -> None:
    with tempfile.TemporaryDirectory() as full, tempfile.TemporaryDirectory() as empty:
        result: dict[str, Any] = {}
        if FINISHED:
            await fill(Path(full))
            await start_waiting(Path(full))
            result["lists"] = await lists(Path(full))
        if LISTENERS:
            result["listeners"] = await listeners(Path(empty))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    anyio.run(main)
