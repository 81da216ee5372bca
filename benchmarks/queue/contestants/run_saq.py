"""SAQ: 100 jobs at once, no limit on concurrent Redis operations below that."""

from typing import Any

from contest import CONCURRENCY, Contestant, Handle, main
from saq import Queue, Worker


class Saq(Contestant):
    can_batch = False

    async def open(self) -> None:
        self.queue = Queue.from_url(self.url, max_concurrent_ops=CONCURRENCY)
        await self.queue.connect()

    async def add(self, payload: int) -> None:
        await self.queue.enqueue("noop", sent=payload)

    async def work(self, handle: Handle) -> None:
        async def noop(context: Any, *, sent: int) -> None:
            handle(sent)

        worker: Any = Worker(self.queue, functions=[("noop", noop)], concurrency=CONCURRENCY)
        worker.SIGNALS = []
        await worker.start()

    async def close(self) -> None:
        await self.queue.disconnect()


if __name__ == "__main__":
    main(Saq)
