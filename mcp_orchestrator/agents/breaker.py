"""A circuit breaker: a provider that is down is left alone for a while, then probed once.

The pattern is Nygard's ("Release It!"): closed → open → half open → closed. Time is passed in.
"""

from dataclasses import dataclass
from enum import Enum


class Circuit(Enum):
    """Where the breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


@dataclass
class CircuitBreaker:
    """Counts failures in a row; lives as long as the connection pool of one provider.

    Args:
        threshold: failures in a row that open it.
        cooldown: seconds it stays open before one probe is let through.
    """

    threshold: int = 5
    cooldown: float = 30.0
    _failures: int = 0
    _opened_at: float | None = None
    _probing: bool = False

    def state(self, now: float) -> Circuit:
        """Return where it stands at a moment of the monotonic clock."""
        if self._opened_at is None:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if now - self._opened_at >= self.cooldown else Circuit.OPEN

    def admit(self, now: float) -> float | None:
        """Let a call through, or say how many seconds to leave the provider alone.

        A call that was let through ends in ``succeeded``, ``failed`` or ``abandoned``.
        """
        if self._opened_at is None:
            return None
        if self.state(now) is Circuit.HALF_OPEN and not self._probing:
            self._probing = True
            return None
        return max(self._opened_at + self.cooldown - now, 1.0)

    def succeeded(self) -> None:
        """Record that the provider answered, even if with a refusal."""
        self._failures = 0
        self._opened_at = None
        self._probing = False

    def failed(self, now: float) -> None:
        """Record that it did not answer or was broken (5xx, connection, time-out)."""
        self._failures += 1
        if self._probing or self._failures >= self.threshold:
            self._opened_at = now
        self._probing = False

    def abandoned(self) -> None:
        """Record that the call was cancelled, which says nothing about the provider."""
        self._probing = False
