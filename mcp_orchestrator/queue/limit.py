"""How much of one task type may run, over all workers: at once, and in a span of time (pure)."""

from dataclasses import dataclass
from math import isfinite

from mcp_orchestrator.errors import InvalidInputError

#: Starts are remembered one by one, so that no span of time ever sees more of them.
_MOST_STARTS = 100_000
_LONGEST_SPAN = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many starts in any span of so many seconds; a retry is a start, too.

    Args:
        starts: how many.
        seconds: the length of the span.
    """

    starts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TypeLimit:
    """The bounds of one type; None leaves that side unbounded."""

    concurrency: int | None = None
    rate: Rate | None = None

    @property
    def is_unbounded(self) -> bool:
        """Whether there is nothing to hold."""
        return self.concurrency is None and self.rate is None


@dataclass(frozen=True, slots=True)
class LimitStats:
    """A limited type at one moment.

    Args:
        task_type: the type.
        limit: its bounds.
        running: how many of it run.
        started: how many of it were started within the span of its rate; 0 without a rate.
    """

    task_type: str
    limit: TypeLimit
    running: int
    started: int


def check_limit(limit: TypeLimit) -> TypeLimit:
    """Return a limit that can be held.

    Raises:
        InvalidInputError: a bound that is not positive, or too large to remember.
    """
    concurrency, rate = limit.concurrency, limit.rate
    if concurrency is not None and concurrency < 1:
        raise InvalidInputError(
            f"{concurrency!r} is not a bound on how many run at once.",
            remedy="Use 1 or more; pause the type to run none of it.",
        )
    if rate is None:
        return limit
    if not 1 <= rate.starts <= _MOST_STARTS:
        raise InvalidInputError(
            f"{rate.starts!r} is not a number of starts.", remedy=f"Use 1 to {_MOST_STARTS:,}."
        )
    if not isfinite(rate.seconds) or not 0.001 <= rate.seconds <= _LONGEST_SPAN:
        raise InvalidInputError(
            f"{rate.seconds!r} is not a span in seconds.",
            remedy=f"Use 0.001 to {_LONGEST_SPAN:.0f}.",
        )
    return limit
