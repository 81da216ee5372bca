"""taskiq-redis: the stream broker with a result backend, 100 tasks at once, 100 per read."""

import asyncio

from contest import CONCURRENCY, Contestant, Handle, main
from taskiq.receiver import Receiver
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker


class Taskiq(Contestant):
    can_batch = False

    async def open(self) -> None:
        results = RedisAsyncResultBackend(self.url)
        self.broker = RedisStreamBroker(self.url, consumer_id="0").with_result_backend(results)
        self.handle: Handle = lambda _: None

        async def noop(sent: int) -> None:
            self.handle(sent)

        self.noop = self.broker.register_task(noop, task_name="noop")
        await self.broker.startup()

    async def add(self, payload: int) -> None:
        await self.noop.kiq(payload)

    async def work(self, handle: Handle) -> None:
        self.handle = handle
        self.broker.is_worker_process = True
        receiver = Receiver(
            self.broker, max_async_tasks=CONCURRENCY, max_prefetch=CONCURRENCY, run_startup=False
        )
        await receiver.listen(asyncio.Event())

    async def close(self) -> None:
        await self.broker.shutdown()


if __name__ == "__main__":
    main(Taskiq)
