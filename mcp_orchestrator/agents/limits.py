"""How many calls may be under way at once: the port, and the back ends of one process.

How many follows additive increase and multiplicative decrease (Jacobson, "Congestion avoidance
and control", 1988): each success allows a little more, a 429 halves it, once per pause, and
everybody waits until the pause the provider asked for is over.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from mcp_orchestrator.agents.bell import Bell
from mcp_orchestrator.clock import Clock


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


class LocalLimits:
    """The limits of one provider in one process; ``SharedLimits`` holds them for several.

    Args:
        clock: for pauses and rates.
        settings: what the provider allows us; leases and polling mean nothing here.
    """

    def __init__(self, clock: Clock, settings: LimitSettings | None = None) -> None:
        self._clock = clock
        self._settings = settings or LimitSettings()
        self._bell = Bell(clock)
        self._held = 0
        self._paused_until = 0.0
        self._bucket = self._settings.burst
        self._refilled_at = clock.monotonic()
        #: How many calls may be under way at once at present.
        self.allowed = float(self._settings.concurrency)

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for room, and hold it for one attempt; leaving without an error is a success."""
        return self._slot()

    async def throttled(self, seconds: float | None) -> None:
        """Record a 429: allow half as much, and pause as the provider asked.

        Args:
            seconds: its ``Retry-After``; None where it sent none.
        """
        now = self._clock.monotonic()
        if now >= self._paused_until:  # one burst of refusals is one sign
            self.allowed = max(self.allowed / 2, 1.0)
        pause = self._settings.pause if seconds is None else seconds
        self._paused_until = max(self._paused_until, now + pause)

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        while (wait := self._missing()) > 0:
            await self._bell.wait(self._bell.listen(), wait)
        self._held += 1
        try:
            yield
            most = float(self._settings.concurrency)
            self.allowed = min(self.allowed + 1 / self.allowed, most)
        finally:
            self._held -= 1
            self._bell.ring()

    def _missing(self) -> float:
        """Take what a call needs and return 0, or the seconds after which to look again."""
        now, settings = self._clock.monotonic(), self._settings
        if now < self._paused_until:
            return self._paused_until - now
        if self._held >= int(self.allowed):
            return settings.lease  # whoever leaves rings
        if settings.per_minute is None:
            return 0.0
        self._bucket = settings.refilled(self._bucket, now - self._refilled_at)
        self._refilled_at = now
        if self._bucket < 1:
            return (1 - self._bucket) * 60 / settings.per_minute
        self._bucket -= 1
        return 0.0
