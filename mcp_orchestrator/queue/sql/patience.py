"""When it is fair to call another worker dead.

A process that was stopped in the middle of a transaction holds SQLite's one write lock, so nobody
can renew, and when the lock is free again whoever writes first would find every lease expired. So a
process that had to wait for the lock first gives the others a moment to renew.
"""

from mcp_orchestrator.clock import Clock

#: A transaction that began later than this share of a lease after it was asked for was held up …
_LATE = 1 / 20
#: … and then nobody is called dead for this share.
_MOMENT = 1 / 6


class Patience:
    """Whether this process may recover what others hold.

    Args:
        lease_seconds: how long a lease lasts.
        clock: the source of time.
    """

    def __init__(self, lease_seconds: float, clock: Clock) -> None:
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._patient_until = clock.monotonic()

    def may_recover(self, asked_at: float) -> bool:
        """Return whether a transaction that begins now may recover.

        Args:
            asked_at: when it was asked for, on the monotonic clock.
        """
        now = self._clock.monotonic()
        if now - asked_at > self._lease_seconds * _LATE:
            self._patient_until = now + self._lease_seconds * _MOMENT
        return now >= self._patient_until
