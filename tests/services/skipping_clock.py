"""A clock whose sleeps end at once, by moving the time on; it remembers them."""

from datetime import UTC, datetime, timedelta

from anyio.lowlevel import checkpoint


class SkippingClock:
    """Starts on a fixed day; ``slept`` lists every wait."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Return the present moment."""
        return datetime(2026, 11, 21, 12, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Return seconds."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Move the time on."""
        self.slept.append(seconds)
        self.seconds += max(seconds, 0.0)
        await checkpoint()
