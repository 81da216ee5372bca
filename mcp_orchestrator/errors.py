"""Every error this program raises on purpose; each says what to do next.

The tree::

    OrchestratorError
    ├── InvalidInputError        the caller's input is wrong; nothing was written
    │   └── UnknownNameError     a name that must be registered is not
    ├── NotFoundError            an id that does not exist, or is another principal's
    ├── ConflictError            the present state does not allow it
    │   ├── StaleLeaseError      somebody else has taken the work over; this writer is late
    │   └── ConfirmationNeededError  a destructive call that nobody has confirmed
    ├── BusinessRefusalError     the answer is no: a saga compensates at once, without a retry
    ├── LimitExceededError       a size, a length, a budget or a time limit
    │   ├── BudgetExceededError  money, tokens or calls
    │   └── QueueFullError       as many tasks wait as may wait
    ├── ConfigurationError       a setting is missing or wrong
    ├── BackendUnavailableError  a database, Redis, Docker, bubblewrap … does not answer
    │   └── SandboxUnavailableError
    └── ProviderError            a model provider refused or failed
        ├── ProviderRejectedError    will fail again (400, 401, 402, 403, 404, 422)
        └── ProviderUnavailableError may work later (429, 5xx, connection, time-out)
            └── AnswerLostError      as that, and the lost answer may have been billed
"""

from typing import ClassVar


class OrchestratorError(Exception):
    """The root of the tree.

    Args:
        message: what failed and on which input, in one sentence.
        remedy: what the reader can do about it, in one sentence; empty when the message says it.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return message and remedy as one readable line."""
        return f"{self.message} {self.remedy}".strip()


class InvalidInputError(OrchestratorError):
    """The caller's input is wrong; nothing was written."""

    code = "invalid_input"


class UnknownNameError(InvalidInputError):
    """A name that must be registered (an action, a handler, a pack) is not.

    Args:
        kind: what was looked for, such as ``"action"``.
        name: the name that was given.
        known: the names that would have been accepted.
    """

    code = "unknown_name"

    def __init__(self, kind: str, name: str, known: "list[str]") -> None:
        listed = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"Unknown {kind} {name!r}.", remedy=f"Use one of the registered {kind}s: {listed}."
        )
        self.kind = kind
        self.name = name
        self.known = known


class NotFoundError(OrchestratorError):
    """An id that does not exist, or that belongs to another principal."""

    code = "not_found"


class ForbiddenError(OrchestratorError):
    """What was asked for concerns everybody, and only an administrator may do it."""

    code = "forbidden"


class ConflictError(OrchestratorError):
    """The present state does not allow what was asked."""

    code = "conflict"


class StaleLeaseError(ConflictError):
    """Somebody else has taken the work over; this writer is late and was refused."""

    code = "stale_lease"


class ConfirmationNeededError(ConflictError):
    """A destructive call that nobody has confirmed; the remedy says how to."""

    code = "confirmation_needed"


class BusinessRefusalError(OrchestratorError):
    """An action's answer is no (no stock, not allowed): undo what was done, do not try again.

    Any other exception of an action is a technical error, which its retry policy governs.
    """

    code = "business_refusal"


class LimitExceededError(OrchestratorError):
    """A size, a length or a time limit was passed."""

    code = "limit_exceeded"


class BudgetExceededError(LimitExceededError):
    """A budget of money, tokens or calls is spent; nothing was sent."""

    code = "budget_exceeded"


class QueueFullError(LimitExceededError):
    """As many tasks wait as may wait; nothing was added."""

    code = "queue_full"


class ConfigurationError(OrchestratorError):
    """A setting is missing or wrong."""

    code = "configuration"


class BackendUnavailableError(OrchestratorError):
    """A database, Redis, Docker, bubblewrap … does not answer."""

    code = "backend_unavailable"


class SandboxUnavailableError(BackendUnavailableError):
    """No isolation can be had on this machine, so nothing is run."""

    code = "sandbox_unavailable"


class ProviderError(OrchestratorError):
    """A model provider refused or failed.

    Args:
        message: what failed, without any secret.
        provider: the provider's name, such as ``"deepseek"``.
        status: the HTTP status, where there was one.
        remedy: what the reader can do about it.
    """

    code = "provider"

    def __init__(
        self, message: str, *, provider: str, status: int | None = None, remedy: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.provider = provider
        self.status = status


class ProviderRejectedError(ProviderError):
    """The provider will refuse the same request again (400, 401, 402, 403, 404, 422)."""

    code = "provider_rejected"


class ProviderUnavailableError(ProviderError):
    """The provider may answer later (429, 5xx, connection error, time-out)."""

    code = "provider_unavailable"


class AnswerLostError(ProviderUnavailableError):
    """The provider was at work, and may bill it, but no usable answer came (cut, time-out)."""

    code = "answer_lost"
