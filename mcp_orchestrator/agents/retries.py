"""When to ask a provider again: a pure decision, so that it can be tested as one.

Being throttled (429) is not a failure but a request for patience, so it is limited by the time
spent waiting rather than by the number of attempts.
"""

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class RetryPolicy:
    """How patient to be.

    Args:
        attempts: how often one call may be sent, throttling aside.
        first_wait: seconds, doubled before each further attempt, times a random share.
        longest_wait: seconds, for one wait of our own choosing.
        patience: seconds one call may spend waiting while it is throttled.
    """

    attempts: int = 3
    first_wait: float = 0.5
    longest_wait: float = 30.0
    patience: float = 120.0

    def wait(
        self, *, failures: int, throttles: int, waited: float, asked: float | None, chance: float
    ) -> float | None:
        """Return the seconds to wait before asking again, or None to give up.

        Args:
            failures: how many attempts of this call have failed for reasons other than a 429.
            throttles: how many were answered 429.
            waited: seconds this call has spent waiting so far.
            asked: the provider's ``Retry-After`` in seconds, where it sent one.
            chance: a random number from 0 to 1; half of the wait is left to it.
        """
        if failures >= self.attempts:
            return None
        rounds = max(failures + throttles - 1, 0)
        own = min(self.first_wait * 2.0 ** min(rounds, 30), self.longest_wait)
        wait = own * (0.5 + 0.5 * chance)
        if asked is not None:
            wait = asked + wait * 0.25  # a little apart, so that a herd does not return as one
        return wait if waited + wait <= self.patience else None


def retry_after(header: str | None, now: datetime) -> float | None:
    """Read a ``Retry-After`` header (RFC 9110): seconds, or a date.

    Returns:
        Seconds from now, never negative; None when the header is missing or makes no sense.
    """
    if header is None:
        return None
    try:
        return max(float(header), 0.0) if header.strip().isdigit() else _until(header, now)
    except (ValueError, TypeError, OverflowError):
        return None


def _until(header: str, now: datetime) -> float:
    return max((parsedate_to_datetime(header) - now).total_seconds(), 0.0)
