"""One measurement of this engine in a process of its own; the last line is JSON.

Usage: python -m benchmarks.saga.ours DATABASE_URL one|many COUNT
"""

import json
import sys
import time
from pathlib import Path
from statistics import median, quantiles

import anyio
from prometheus_client import CollectorRegistry

from mcp_orchestrator.collector import collect_rarely
from mcp_orchestrator.saga import (
    JsonObject,
    JsonValue,
    SagaDefinition,
    SagaEngine,
    SagaMetrics,
    SagaState,
    SagaStep,
    StepHandle,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine
from mcp_orchestrator.store.migrations import migrate

WARM_UP = 20


async def nothing(_arguments: JsonObject, _step: StepHandle) -> JsonValue:
    return None


DEFINITION = SagaDefinition(
    "bench", "1", tuple(SagaStep(name, nothing, nothing) for name in ("a", "b", "c"))
)


async def run_one(engine: SagaEngine) -> None:
    view = await engine.start(DEFINITION, {"n": 1})
    view = await engine.wait_for(view.saga_id, 600)
    assert view.state is SagaState.COMPLETED


async def one_by_one(engine: SagaEngine, count: int) -> dict[str, float]:
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await run_one(engine)
        times.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": median(times), "p95_ms": quantiles(times, n=20)[-1]}


async def all_at_once(engine: SagaEngine, count: int) -> dict[str, float]:
    before = resident_bytes()
    began = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(run_one, engine)
    seconds = time.perf_counter() - began
    grown = max(resident_bytes("VmHWM") - before, 0) / count
    return {"sagas_per_s": count / seconds, "bytes_per_saga": grown}


def resident_bytes(line: str = "VmRSS") -> int:
    rows = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith(line))


async def main(url: str, mode: str, count: int) -> None:
    database = open_engine(url)
    await migrate(database)
    async with GroupCommitter(database) as committer:
        engine = SagaEngine(
            database, committer, NoActions(), runner_id="bench", max_concurrent=10_000,
            metrics=SagaMetrics(CollectorRegistry()),
        )  # fmt: skip
        async with engine:
            for _ in range(WARM_UP):
                await run_one(engine)
            measure = one_by_one if mode == "one" else all_at_once
            result = await measure(engine, count)
    await database.close()
    print(json.dumps(result))


if __name__ == "__main__":
    collect_rarely()  # as every command does
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
