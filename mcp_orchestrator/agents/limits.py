"""How many calls may be under way at once: the port, and what every back end is told.

How many follows additive increase and multiplicative decrease (Jacobson, "Congestion avoidance
and control", 1988): each success allows a little more, a 429 halves it, once per pause, and
everybody waits until the pause the provider asked for is over.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class LimitSettings:
    """What one provider allows us.

    Args:
        concurrency: calls under way at once, over all processes.
        per_minute: calls begun in a minute; None for no limit.
        lease: seconds after which the slot of a process that died is free again.
        poll: seconds between looks for a slot that another process has freed.
        pause: seconds for which everybody waits after a 429 without a ``Retry-After``.
    """

    concurrency: int = 32
    per_minute: int | None = None
    lease: float = 60.0
    poll: float = 0.2
    pause: float = 1.0

    @property
    def burst(self) -> float:
        """Calls that may be begun at once: a tenth of a minute's."""
        return max((self.per_minute or 0) / 10, 1.0)

    def refilled(self, bucket: float, elapsed: float) -> float:
        """Return how many calls may be begun, some seconds after so many could be."""
        return min(bucket + max(elapsed, 0.0) * (self.per_minute or 0) / 60, self.burst)


class CallLimits(Protocol):
    """Holds calls back so that a provider need not refuse them."""

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for room, and hold it for one attempt; leaving without an error is a success."""
        ...

    async def throttled(self, seconds: float | None) -> None:
        """Record that the provider answered 429, asking for a pause of some seconds."""
        ...


class Unlimited:
    """No limits but the provider's own."""

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        yield

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Return at once."""
        return self._slot()

    async def throttled(self, seconds: float | None) -> None:
        """Record nothing."""
