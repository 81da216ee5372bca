"""What a provider's bad answer means: which error, whether to ask again, what to tell people."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from mcp_orchestrator.errors import (
    AnswerLostError,
    ProviderError,
    ProviderRejectedError,
    ProviderUnavailableError,
)

JsonObject = dict[str, object]

_LONGEST_QUOTE = 300


@dataclass(frozen=True)
class Account:
    """Whom we talk to and what the settings are called, for error texts."""

    provider: str
    key_setting: str
    url_setting: str
    model_setting: str


class FailedAttempt(Exception):  # noqa: N818 - an outcome inside agents/, never raised out of it
    """One attempt failed; carries the error to raise if there is no other attempt."""

    def __init__(
        self,
        error: ProviderError,
        *,
        may_retry: bool,
        throttled: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.may_retry = may_retry
        self.throttled = throttled
        self.retry_after = retry_after

    @property
    def is_fault(self) -> bool:
        """Whether the provider itself is broken, which a circuit breaker counts."""
        return isinstance(self.error, ProviderUnavailableError) and not self.throttled


def parse_padded_json(text: str) -> JsonObject | None:
    """Read a JSON object from a body that a busy provider has padded to keep it alive.

    Args:
        text: the body; blank lines and ``: comment`` lines before the object are skipped.

    Returns:
        The object, or None when there was only padding.

    Raises:
        ValueError: something else than one JSON object.
    """
    lines = text.lstrip("\ufeff").splitlines()
    start = 0
    while start < len(lines) and (not lines[start].strip() or lines[start].startswith(":")):
        start += 1
    body = "\n".join(lines[start:])
    if not body:
        return None
    try:
        value: object = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error for every bad body
    found = cast("JsonObject", value)
    return cast("JsonObject", _storable(found)) if "\\u" in body else found


def _storable(value: object) -> object:
    """Take out what no database stores as text: NUL characters and halves of surrogate pairs."""
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return {str(_storable(key)): _storable(item) for key, item in pairs}
    if isinstance(value, list):
        return [_storable(item) for item in cast("list[object]", value)]
    return value


def error_text(body: str) -> str:
    """Return the provider's own words from an error body, in any of the customary shapes."""
    try:
        found = parse_padded_json(body)
    except ValueError:
        found = None
    text = _words(found or {}) or body
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST_QUOTE else flat[:_LONGEST_QUOTE] + "…"


def _words(found: Mapping[str, object]) -> str | None:
    """Find the sentence in ``{error: {message}}``, ``{error}``, ``{message}`` or ``{detail}``."""
    for key in ("error", "message", "detail"):
        value = found.get(key)
        if isinstance(value, dict):
            return _words(cast("Mapping[str, object]", value))
        if isinstance(value, str):
            return value
    return None


def failure_of_status(
    status: int, body: str, account: Account, *, retry_after: float | None = None
) -> FailedAttempt:
    """Classify an answer that is not a success.

    Args:
        status: the HTTP status.
        body: the body, already without secrets.
        account: whom we asked.
        retry_after: the provider's wish, in seconds.
    """
    words = error_text(body)
    message = f"{account.provider} answered {status}{': ' + words if words else ''}."
    if status == 429:
        later = f" in {retry_after:.0f} s" if retry_after is not None else " in a minute"
        error = ProviderUnavailableError(
            message,
            provider=account.provider,
            status=status,
            remedy=f"It limits how often it is asked. Ask again{later}, or lower the concurrency.",
        )
        return FailedAttempt(error, may_retry=True, throttled=True, retry_after=retry_after)
    if status >= 500:
        error = ProviderUnavailableError(
            message,
            provider=account.provider,
            status=status,
            remedy="The fault is the provider's. Ask again later.",
        )
        return FailedAttempt(error, may_retry=True, retry_after=retry_after)
    remedy = _remedy(status, words, account)
    refused = ProviderRejectedError(
        message, provider=account.provider, status=status, remedy=remedy
    )
    return FailedAttempt(refused, may_retry=False)


def _remedy(status: int, words: str, account: Account) -> str:
    if status == 400 and "model" in words.lower():
        return f"Set {account.model_setting} to a model name that the provider lists."
    return {
        401: f"Check {account.key_setting}: the key is missing, wrong or revoked.",
        402: f"Top up the {account.provider} account; nothing will be answered before.",
        403: f"The key in {account.key_setting} may not do this; check its permissions.",
        404: f"Check {account.url_setting} and {account.model_setting}.",
    }.get(status, f"The request itself is refused; if the reason is unclear, check "
                  f"{account.url_setting} and {account.model_setting}.")  # fmt: skip


def unusable_answer(account: Account, what: str, *, may_retry: bool) -> FailedAttempt:
    """Classify an answer with status 200 that cannot be used.

    Args:
        account: whom we asked.
        what: what is wrong with it, to follow "answered with …".
        may_retry: whether another attempt is likely to do better without being paid twice.
    """
    error = AnswerLostError(
        f"{account.provider} answered with {what}.",
        provider=account.provider,
        remedy=f"Ask again; if it persists, check {account.url_setting}.",
    )
    return FailedAttempt(error, may_retry=may_retry)


def hung_up(account: Account) -> FailedAttempt:
    """Classify an answer of padding alone: the provider was too busy to begin."""
    error = ProviderUnavailableError(
        f"{account.provider} answered with nothing but padding.",
        provider=account.provider,
        remedy="It is overloaded. Ask again later.",
    )
    return FailedAttempt(error, may_retry=True)


def failed_connection(
    account: Account, what: str, *, reached: bool, may_retry: bool
) -> FailedAttempt:
    """Classify a connection that failed or a time limit that passed.

    Args:
        account: whom we asked.
        what: what happened, such as ``"did not answer within 300 s"``.
        reached: the provider has got the request.
        may_retry: False when the provider may still be at work on it, and be paid for it.
    """
    kind = AnswerLostError if reached else ProviderUnavailableError
    error = kind(
        f"{account.provider} {what}.",
        provider=account.provider,
        remedy=f"Check the network and {account.url_setting}, then ask again.",
    )
    return FailedAttempt(error, may_retry=may_retry)
