"""Writes of concurrent callers travel together: one round trip for whatever is waiting.

The first caller becomes the leader and flushes in the same moment, so a lone caller pays next to
nothing; callers that arrive during the flush wait, and one of them leads the next.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(eq=False, slots=True)
class _Entry(Generic[Item, Outcome]):
    item: Item
    woken: anyio.Event = field(default_factory=anyio.Event)
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    error: Exception | None = None
    leads: bool = False


class Coalescer(Generic[Item, Outcome]):
    """Gather items and flush them in groups.

    Args:
        flush: writes a group and returns an outcome for each item, in order; an outcome that is
            an exception is raised to its caller only.
        largest_group: how many items travel together at the most.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        largest_group: int,
    ) -> None:
        self._flush = flush
        self._largest_group = largest_group
        self._waiting: list[_Entry[Item, Outcome]] = []
        self._leading = False

    async def submit(self, item: Item) -> Outcome:
        """Return the item's outcome once it has been flushed.

        A cancelled caller still waits for the flush, so that it never leaves an outcome unknown;
        the flush is bounded by the time-outs of the connection beneath.
        """
        entry = _Entry[Item, Outcome](item)
        self._waiting.append(entry)
        with anyio.CancelScope(shield=True):
            if self._leading:
                await entry.woken.wait()
            else:
                self._leading = entry.leads = True
            if entry.leads:
                await checkpoint()  # those who are ready in the same moment travel along
                await self._lead()
        if entry.error is not None:
            raise entry.error
        outcome = entry.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _lead(self) -> None:
        """Flush one group, then pass the lead on."""
        group = self._waiting[: self._largest_group]
        del self._waiting[: self._largest_group]
        try:
            outcomes = await self._flush([entry.item for entry in group])
            for entry, outcome in zip(group, outcomes, strict=True):
                entry.outcomes.append(outcome)
        except Exception as error:  # whatever befell the group is each caller's to raise
            for entry in group:
                entry.error = error
        for entry in group:
            entry.woken.set()
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].woken.set()
        else:
            self._leading = False
