"""docket: polling every 10 ms (its default of 250 ms would be slower), 50 tasks at once.

Concurrency 50 is faster than 100 here. Its batched ``add_many`` is not measured yet.
"""

from datetime import timedelta
from typing import Any

from contest import Contestant, Handle, main
from docket import Docket, Worker

CONCURRENCY = 50
POLL = timedelta(milliseconds=10)


class OfDocket(Contestant):
    can_batch = False

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
