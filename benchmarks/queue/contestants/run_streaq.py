"""streaq: 100 tasks at once, its own batched enqueue, results kept, prefetch as it ships."""

import json

from contest import CONCURRENCY, Contestant, Handle, main
from streaq import Worker


class Streaq(Contestant):
    async def open(self) -> None:
        self.client, self.noop = self.make(lambda _: None)
        await self.client.__aenter__()

    def make(self, handle: Handle):
        worker = Worker(
            redis_url=self.url,
            concurrency=CONCURRENCY,
            handle_signals=False,
            serializer=json.dumps,
            deserializer=json.loads,
        )

        async def noop(sent: int) -> None:
            handle(sent)

        return worker, worker.task(name="noop")(noop)

    async def add(self, payload: int) -> None:
        await self.noop.enqueue(payload)

    async def add_batch(self, payloads: list[int]) -> None:
        await self.client.enqueue_many([self.noop.enqueue(payload) for payload in payloads])

    async def work(self, handle: Handle) -> None:
        worker, _ = self.make(handle)
        await worker.run_async()

    async def close(self) -> None:
        await self.client.__aexit__(None, None, None)


if __name__ == "__main__":
    main(Streaq)
