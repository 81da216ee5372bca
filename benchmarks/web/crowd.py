"""Listeners of the event stream: ``python -m benchmarks.web.crowd URL COUNT``."""

import sys

import anyio
from websockets.asyncio.client import connect


async def main(address: str, count: int) -> None:
    ready = anyio.Semaphore(0)

    async def listen() -> None:
        async with connect(address, proxy=None, compression=None) as socket:
            await socket.recv()
            ready.release()
            async for _ in socket:
                pass

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(listen)
        for _ in range(count):
            await ready.acquire()
        sys.stdout.write("listening\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
