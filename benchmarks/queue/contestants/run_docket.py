"""docket: polling every 10 ms (its default of 250 ms would be slower), 50 tasks at once.

Concurrency 50 is faster than 100 here. Batches go by its ``add_many``, as one pipeline.
"""

from datetime import timedelta
from typing import Any

from contest import Contestant, Handle, main
from docket import Docket, Worker

CONCURRENCY = 50
POLL = timedelta(milliseconds=10)


class OfDocket(Contestant):
    async def open(self) -> None:
        self.handle: Handle = lambda _: None
        self.docket: Any = Docket(name="bench", url=self.url)
        await self.docket.__aenter__()

        async def noop(sent: int) -> None:
            self.handle(sent)

        self.noop = noop
        self.docket.register(noop)

    async def add(self, payload: int) -> None:
        await self.docket.add(self.noop)(payload)

    async def add_batch(self, payloads: list[int]) -> None:
        call = self.docket.call  # anew for each, because it draws the key
        await self.docket.add_many(
            [call(self.noop)(payload) for payload in payloads], chunk_size=None
        )

    async def work(self, handle: Handle) -> None:
        self.handle = handle
        async with Worker(
            self.docket,
            concurrency=CONCURRENCY,
            minimum_check_interval=POLL,
            scheduling_resolution=POLL,
        ) as worker:
            await worker.run_forever()

    async def close(self) -> None:
        await self.docket.__aexit__(None, None, None)


if __name__ == "__main__":
    main(OfDocket)
