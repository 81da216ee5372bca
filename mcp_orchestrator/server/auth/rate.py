"""How often a principal may ask: a token bucket for each (pure but for the clock)."""

from collections import OrderedDict
from typing import Final

from mcp_orchestrator.clock import Clock

#: Principals remembered at most; whoever was silent longest is forgotten, with a full bucket.
_MOST: Final = 10_000
#: A bucket holds so many seconds' worth of requests.
_BURST_SECONDS: Final = 10.0


class RateLimit:
    """Admits requests at a rate, with bursts of ten seconds' worth.

    Args:
        per_minute: requests of one principal in a minute.
        clock: the time.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_second = per_minute / 60
        self._room = max(self._per_second * _BURST_SECONDS, 1.0)
        self._clock = clock
        self._buckets: OrderedDict[str | None, tuple[float, float]] = OrderedDict()

    def admit(self, principal: str | None) -> float:
        """Return 0 for a request that may go on, else in how many seconds one may."""
        now = self._clock.monotonic()
        left, seen = self._buckets.pop(principal, (self._room, now))
        left = min(self._room, left + (now - seen) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._buckets[principal] = (left - 1 if wait == 0 else left, now)
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        return wait
