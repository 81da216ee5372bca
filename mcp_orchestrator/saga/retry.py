"""How often and how soon a failed step is tried again."""

import random
from dataclasses import dataclass
from math import isfinite

from mcp_orchestrator.errors import InvalidInputError

#: Beyond so many a step would only fill its trail.
MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with jitter.

    Args:
        max_attempts: tries in all, the first included; 100 at the most.
        first_delay: seconds before the second try.
        factor: what each further delay is multiplied by.
        max_delay: no delay is longer, in seconds.
        jitter: the share of a delay that is left to chance, from 0 to 1, so that sagas that
            failed together do not come back together.
    """

    max_attempts: int = 3
    first_delay: float = 0.5
    factor: float = 2.0
    max_delay: float = 60.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        attempts = 1 <= self.max_attempts <= MOST_ATTEMPTS
        delays = (self.first_delay, self.max_delay, self.factor)
        if not attempts or min(delays) < 0 or self.factor < 1 or not all(map(isfinite, delays)):
            raise InvalidInputError(
                f"A retry policy needs max_attempts from 1 to {MOST_ATTEMPTS}, factor >= 1 and "
                "delays >= 0."
            )
        if not 0 <= self.jitter <= 1:
            raise InvalidInputError("A retry policy needs a jitter from 0 to 1.")

    def delay(self, failures: int, chance: random.Random) -> float:
        """Return the seconds to wait after so many failures (at least one)."""
        exponent = min(failures - 1, 64)  # beyond it the longest delay has long been reached
        longest = min(self.first_delay * self.factor**exponent, self.max_delay)
        return longest * (1 - self.jitter * chance.random())


#: Try once.
NO_RETRY = RetryPolicy(max_attempts=1)
