"""Redis Streams by redis-py alone: one stream, no tasks, no results; each message acknowledged."""

import asyncio
from typing import Any

from contest import CONCURRENCY, Contestant, Handle, main
from redis import asyncio as redis_asyncio


class Raw(Contestant):
    async def open(self) -> None:
        self.redis: Any = redis_asyncio.Redis.from_url(self.url)

    async def add(self, payload: int) -> None:
        await self.redis.xadd("raw", {"sent": payload})

    async def add_batch(self, payloads: list[int]) -> None:
        pipeline = self.redis.pipeline(transaction=False)
        for payload in payloads:
            pipeline.xadd("raw", {"sent": payload})
        await pipeline.execute()

    async def work(self, handle: Handle) -> None:
        await self.redis.xgroup_create("raw", "group", "0", mkstream=True)
        while True:
            found = await self.redis.xreadgroup("group", "one", {"raw": ">"}, count=CONCURRENCY)
            if not found:
                await asyncio.sleep(0)
                continue
            pipeline = self.redis.pipeline(transaction=False)
            for entry, fields in found[0][1]:
                handle(int(fields[b"sent"]))
                pipeline.xack("raw", "group", entry)
            await pipeline.execute()

    async def close(self) -> None:
        await self.redis.aclose()


if __name__ == "__main__":
    main(Raw)
