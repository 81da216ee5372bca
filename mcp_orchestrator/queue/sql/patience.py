"""When it is fair to call another worker dead.

On SQLite a handler that blocks its event loop in the middle of a transaction holds the one write
lock, so its renewal thread cannot renew either, and when the lock is free again whoever looks first
would find the lease expired. So a process that has itself been held up (by the lock, or by its own
blocked loop) first gives the others a moment to renew.
"""

import anyio

#: Looks further apart than this share of a lease mean that this process was held up …
_HELD_UP = 1 / 4
#: … as does a transaction that began later than this share after it was asked for …
_LATE = 1 / 20
#: … and then nobody is called dead for this share.
_MOMENT = 1 / 6


class Patience:
    """Whether this process may recover what others hold; it knows the loop's own time only."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._looked_at: float | None = None
        self._patient_until = 0.0

    def look(self) -> float:
        """Note that the queue is being looked at, and return the loop's time."""
        now = anyio.current_time()
        before, self._looked_at = self._looked_at, now
        if before is not None and now - before > self._lease_seconds * _HELD_UP:
            self._be_patient(now)
        return now

    def may_recover(self, asked_at: float) -> bool:
        """Return whether a transaction that was asked for at a loop time may recover."""
        now = anyio.current_time()
        if now - asked_at > self._lease_seconds * _LATE:
            self._be_patient(now)
        return now >= self._patient_until

    def _be_patient(self, now: float) -> None:
        self._patient_until = now + self._lease_seconds * _MOMENT
