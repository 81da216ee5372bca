"""What is kept of an exception, and whether trying again could help. Pure."""

import traceback

from mcp_orchestrator.errors import (
    BusinessRefusalError,
    InvalidInputError,
    LimitExceededError,
    ProviderRejectedError,
)
from mcp_orchestrator.queue.handler import RetryLater

_LONGEST_ERROR = 2_000
_LONGEST_TRACE = 8_000
#: Another attempt with the same payload would fail in the same way.
_PERMANENT = (BusinessRefusalError, InvalidInputError, LimitExceededError, ProviderRejectedError)


def summary(error: str | BaseException) -> str:
    """Return one line that says what went wrong."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return text[:_LONGEST_ERROR]


def trace(error: str | BaseException) -> str:
    """Return the end of the traceback, where the cause is."""
    if isinstance(error, str):
        return error[-_LONGEST_TRACE:]
    return "".join(traceback.format_exception(error))[-_LONGEST_TRACE:]


def is_permanent(error: BaseException) -> bool:
    """Return whether another attempt would fail in the same way."""
    return isinstance(error, _PERMANENT)


def retry_after(error: BaseException) -> float | None:
    """Return the least wait that the other side asked for, in seconds."""
    wanted: object = error.after if isinstance(error, RetryLater) else None
    if wanted is None:
        wanted = getattr(error, "retry_after", None)
    return float(wanted) if isinstance(wanted, (int, float)) else None
