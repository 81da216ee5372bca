"""What every contestant does, measured in the same way; it runs in the contestant's environment.

The handler does nothing but count, so a rate is that of the queue's own machinery. A drain is timed
from the start of the first handler to the start of the last one, with results kept.
"""

import asyncio
import json
import random
import resource
import sys
import time
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path

Handle = Callable[[int], None]
#: Tasks handed over in one call of a batched enqueue.
BATCH = 1000
CONCURRENCY = 100


class Contestant:
    """One queue. ``payload`` is the moment at which the task was added, in nanoseconds."""

    can_batch = True

    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> None:
        raise NotImplementedError

    async def add(self, payload: int) -> None:
        raise NotImplementedError

    async def add_batch(self, payloads: list[int]) -> None:
        for payload in payloads:
            await self.add(payload)

    async def work(self, handle: Handle) -> None:
        """Run handlers until cancelled; call ``handle`` as the body of each."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


async def _fill(queue: Contestant, count: int) -> None:
    for start in range(0, count, BATCH):
        await queue.add_batch([0] * min(BATCH, count - start))


async def enqueue(queue: Contestant, one_by_one: int, batched: int) -> dict[str, float | None]:
    await _fill(queue, 200)
    began = time.perf_counter()
    for _ in range(one_by_one):
        await queue.add(0)
    single = one_by_one / (time.perf_counter() - began)
    if not queue.can_batch:
        return {"one_by_one": single, "batched": None}
    began = time.perf_counter()
    await _fill(queue, batched)
    return {"one_by_one": single, "batched": batched / (time.perf_counter() - began)}


async def fill(queue: Contestant, waiting: int) -> dict[str, int]:
    await _fill(queue, waiting)
    return {"waiting": waiting}


def _resident() -> float:
    """Return this process's memory, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def drain(queue: Contestant, waiting: int, measured: int) -> dict[str, float]:
    await _fill(queue, waiting)
    memory: list[float] = []
    starts = array("d")
    done = asyncio.Event()

    def handle(_: int) -> None:
        starts.append(time.perf_counter())
        if len(starts) % max(measured // 4, 1) == 0:
            memory.append(_resident())
        if len(starts) == measured:
            done.set()

    worker = asyncio.create_task(queue.work(handle))
    cpu = time.process_time()
    await _first_of(worker, done)
    used = time.process_time() - cpu
    await _end(worker)
    span = starts[measured - 1] - starts[0]
    return {
        "rate": (measured - 1) / span,
        "cpu_us": used / measured * 1e6,
        "memory_after_quarter": memory[0],
        "memory_at_end": memory[-1],
    }


async def work(queue: Contestant, count: int) -> dict[str, list[float]]:
    waits: list[float] = []
    done = asyncio.Event()

    def handle(payload: int) -> None:
        waits.append((time.monotonic_ns() - payload) / 1e6)
        if len(waits) == count:
            done.set()

    worker = asyncio.create_task(queue.work(handle))
    await asyncio.sleep(1.0)  # idle, as the producer is to find it
    print("READY", flush=True)
    await _first_of(worker, done)
    await _end(worker)
    return {"waits_ms": waits}


async def produce(queue: Contestant, count: int) -> dict[str, int]:
    chance = random.Random(7)
    for _ in range(count):
        await asyncio.sleep(chance.uniform(0.02, 0.06))
        await queue.add(time.monotonic_ns())
    return {"produced": count}


async def _first_of(worker: "asyncio.Task[None]", done: asyncio.Event) -> None:
    finished = asyncio.create_task(done.wait())
    await asyncio.wait([worker, finished], return_when=asyncio.FIRST_COMPLETED)
    if not finished.done():
        finished.cancel()
        await worker
        raise RuntimeError("the worker ended before its work was done")


async def _end(worker: "asyncio.Task[None]") -> None:
    worker.cancel()
    await asyncio.wait([worker], timeout=5)


def main(contestant: type[Contestant]) -> None:
    """Run one measurement: MODE URL NUMBER [NUMBER]; print its figures as one line of JSON."""
    mode, url, *numbers = sys.argv[1:]
    modes: dict[str, Callable[..., Awaitable[object]]] = {
        "enqueue": enqueue, "fill": fill, "drain": drain, "work": work, "produce": produce,
    }  # fmt: skip

    async def run() -> object:
        queue = contestant(url)
        await queue.open()
        try:
            return await modes[mode](queue, *map(int, numbers))
        finally:
            await queue.close()

    print(json.dumps(asyncio.run(run())), flush=True)
