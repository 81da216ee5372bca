"""Writes of concurrent callers travel together: one round trip for whatever is waiting."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import anyio

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Coalescer(Generic[Item, Outcome]):
    """Gather items and flush them in groups, one group at a time.

    Args:
        flush: writes a group and returns an outcome for each item, in order; an outcome that is
            an exception is raised to its caller only.
        largest_group: how many items travel together at the most.
        lone_first: let a caller who finds nobody else flush at once, which suits callers that come
            one by one; else the first waits for those who are ready in the same moment.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        largest_group: int,
        lone_first: bool = False,
    ) -> None:
        self._flush = flush
        self._largest_group = largest_group
        self._lone_first = lone_first
        self._waiting: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._alone = False

    async def submit(self, item: Item) -> Outcome:
        """Return the item's outcome once it has been flushed.

        A cancelled caller still waits for its group's flush, so that it never leaves an outcome
        unknown; the flush is bounded by the time-outs of the connection beneath. One that flushes
        alone does not wait.
        """
        if self._lone_first and not self._alone and self._flushing is None:
            return await self._submit_alone(item)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flushing is None and not self._alone:
            self._start()
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # nobody is left to hear of it
            raise

    async def _submit_alone(self, item: Item) -> Outcome:
        self._alone = True
        try:
            outcome = (await self._flush([item]))[0]
        finally:
            self._alone = False
            if self._waiting:
                self._start()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _start(self) -> None:
        self._flushing = asyncio.create_task(self._flush_all())

    async def _flush_all(self) -> None:
        group: list[tuple[Item, asyncio.Future[Outcome]]] = []
        try:
            while self._waiting:
                group = self._waiting[: self._largest_group]
                del self._waiting[: self._largest_group]
                await self._flush_group(group)
        finally:
            self._flushing = None
            for _, future in (*group, *self._waiting):
                future.cancel()  # only those that a dying event loop left open
            self._waiting.clear()

    async def _flush_group(self, group: Sequence[tuple[Item, "asyncio.Future[Outcome]"]]) -> None:
        try:
            outcomes = await self._flush([item for item, _ in group])
        except Exception as error:  # whatever befell the group is each caller's to raise
            for _, future in group:
                future.set_exception(error)
            return
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
