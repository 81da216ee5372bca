"""arq: polling every 10 ms (its default of 500 ms would be slower), 100 jobs at once."""

from typing import Any

from arq import Worker, create_pool, func
from arq.connections import RedisSettings
from contest import CONCURRENCY, Contestant, Handle, main


class Arq(Contestant):
    can_batch = False

    async def open(self) -> None:
        self.settings = RedisSettings.from_dsn(self.url)
        self.pool = await create_pool(self.settings)

    async def add(self, payload: int) -> None:
        await self.pool.enqueue_job("noop", payload)

    async def work(self, handle: Handle) -> None:
        async def noop(context: Any, payload: int) -> None:
            handle(payload)

        worker = Worker(
            functions=[func(noop, name="noop")],
            redis_settings=self.settings,
            max_jobs=CONCURRENCY,
            poll_delay=0.01,
            handle_signals=False,
        )
        await worker.async_run()

    async def close(self) -> None:
        await self.pool.aclose()


if __name__ == "__main__":
    main(Arq)
