"""How long a failed task waits for its next attempt. Pure.

Full jitter, after Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015:
the wait is drawn evenly from nothing up to the exponential bound, so that tasks which failed
together do not come back together.
"""

import random
from dataclasses import dataclass, field

#: Beyond this exponent any bound is larger than every sensible cap.
_LARGEST_EXPONENT = 62


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with a cap.

    Args:
        base_seconds: the bound after attempt n is ``base_seconds * 2**n``.
        cap_seconds: the bound never exceeds this.
        random_source: where the jitter comes from; give a seeded one to repeat a run.
    """

    base_seconds: float = 1.0
    cap_seconds: float = 300.0
    random_source: random.Random = field(default_factory=random.Random, compare=False)

    def bound(self, attempt: int) -> float:
        """Return the longest wait after an attempt (counted from 1), in seconds."""
        exponent = min(max(attempt, 0), _LARGEST_EXPONENT)
        return min(self.cap_seconds, self.base_seconds * float(2**exponent))

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Return how long to wait after an attempt, in seconds.

        Args:
            attempt: the attempt that failed, counted from 1.
            retry_after: the least wait that the other side asked for, in seconds; honoured
                in full, even beyond the cap.
        """
        if retry_after is not None:
            return max(retry_after, 0.0)
        return self.random_source.uniform(0.0, self.bound(attempt))
