"""One measurement of DBOS in a process of its own venv; the last line is JSON.

Usage: python dbos_workflows.py DATABASE_URL default|wal one|threads|async COUNT
"""
# pyright: basic, reportMissingImports=false

import asyncio
import gc
import json
import logging
import sqlite3
import sys
import time
from statistics import median, quantiles

from dbos import DBOS

WARM_UP = 20
url, journal, mode, number = sys.argv[1:5]
DBOS(
    config={
        "name": "bench",
        "system_database_url": url,
        "run_admin_server": False,
        "log_level": "ERROR",
    }
)


@DBOS.step()
def nothing() -> None:
    return None


@DBOS.workflow()
def three_steps(_n: int) -> None:
    nothing()
    nothing()
    nothing()


@DBOS.step()
async def nothing_async() -> None:
    return None


@DBOS.workflow()
async def three_steps_async(_n: int) -> None:
    await nothing_async()
    await nothing_async()
    await nothing_async()


def one_by_one(count: int) -> dict[str, float]:
    times = []
    for n in range(count):
        began = time.perf_counter()
        three_steps(n)
        times.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": median(times), "p95_ms": quantiles(times, n=20)[-1]}


def with_threads(count: int) -> dict[str, float]:
    began = time.perf_counter()
    handles = [DBOS.start_workflow(three_steps, n) for n in range(count)]
    for handle in handles:
        handle.get_result()
    return {"sagas_per_s": count / (time.perf_counter() - began)}


async def with_asyncio(count: int) -> dict[str, float]:
    began = time.perf_counter()
    await asyncio.gather(*(three_steps_async(n) for n in range(count)))
    return {"sagas_per_s": count / (time.perf_counter() - began)}


async def warm_and_measure(count: int) -> dict[str, float]:
    for n in range(WARM_UP):
        await three_steps_async(n)
    return await with_asyncio(count)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)  # as our commands do, so that neither has less of it
    if journal == "wal":
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    DBOS.launch()
    if mode == "async":
        result = asyncio.run(warm_and_measure(int(number)))
    else:
        for n in range(WARM_UP):
            three_steps(n)
        result = (one_by_one if mode == "one" else with_threads)(int(number))
    DBOS.destroy()
    print(json.dumps(result))
