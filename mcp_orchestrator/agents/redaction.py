"""Keeping secrets out of everything that leaves the HTTP door: errors, logs, cassettes."""

import re

_SHAPES = re.compile(
    r"(?i)\bbearer\s+[\w.~+/=-]{6,}"
    r"|\b(?:sk|pplx)-[\w*.-]{4,}"
    r"|(?<=api key: )\S+|(?<=api_key=)[^\s&]+"
)


def redact(text: str, *secrets: str | None) -> str:
    """Return text without the given secrets, and without anything shaped like a provider's key."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[secret]")
    return _SHAPES.sub("[secret]", text)
