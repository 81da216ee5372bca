"""Telling people how a long call is getting on, seldom enough not to be a nuisance."""

from collections.abc import Callable

from mcp_orchestrator.agents.model import Progress
from mcp_orchestrator.clock import Clock


class ProgressReporter:
    """Passes on one report a period, and drops the rest.

    Args:
        clock: tells when a period is over.
        on_progress: who is told; None for nobody.
        period: seconds between reports.
    """

    def __init__(self, clock: Clock, on_progress: Progress | None, *, period: float = 1.0) -> None:
        self._clock = clock
        self._tell = on_progress
        self._period = period
        self._last: float | None = None

    async def report(self, words: Callable[[], str]) -> None:
        """Tell, unless it was told less than a period ago."""
        if self._tell is None:
            return
        now = self._clock.monotonic()
        if self._last is None or now - self._last >= self._period:
            self._last = now
            await self._tell(words())
