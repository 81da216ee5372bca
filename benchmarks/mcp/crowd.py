"""Many clients that each hold a session and call a tool now and then: ``URL CLIENTS SECONDS``."""

import asyncio
import json
import random
import sys
import time
from itertools import count

import anyio
from mcp import Client

#: What a client waits between two calls, in seconds, on average.
PAUSE = 8.0
#: How many of them knock at the door at the same moment.
ARRIVING = 20


async def main(url: str, clients: int, seconds: float) -> None:
    delays: list[float] = []
    errors: list[str] = []
    arriving = asyncio.Semaphore(ARRIVING)
    everyone_in = anyio.Event()
    inside = count(1)

    async def call(client: Client) -> None:
        began = time.perf_counter()
        result = await client.call_tool("bench_echo", {"text": "hello"})
        delays.append(time.perf_counter() - began)
        if result.is_error:
            errors.append(str(result.content))

    async def one(chance: random.Random) -> None:
        await arriving.acquire()
        async with Client(url) as client:
            arriving.release()
            if next(inside) == clients:
                everyone_in.set()
            await everyone_in.wait()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                await anyio.sleep(chance.uniform(0, PAUSE * 2))
                await call(client)

    async def counted(chance: random.Random) -> None:
        try:
            await one(chance)
        except Exception as error:  # it is one of the figures
            errors.append(repr(error))

    await asyncio.gather(*(counted(random.Random(number)) for number in range(clients)))
    delays.sort()
    print(
        json.dumps(
            {
                "calls": len(delays),
                "errors": len(errors),
                "first_error": errors[0] if errors else None,
                "median_ms": 1000 * delays[len(delays) // 2],
                "p99_ms": 1000 * delays[int(len(delays) * 0.99)],
            }
        )
    )


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
