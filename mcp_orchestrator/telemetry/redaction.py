"""What secrets look like in a text: keys, tokens, passwords in URLs (pure)."""

import re
from collections.abc import Collection
from typing import Final

REDACTED: Final = "[redacted]"
SECRET_SHAPES: Final = re.compile(
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|\b(?:sk|pk|pplx|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{8,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"
    r"|(?:(?<=password=)|(?<=api_key=)|(?<=apikey=)|(?<=secret=)|(?<=token=))[^\s&\"']+"
)
#: Shorter ones would blot out ordinary words.
_SHORTEST_SECRET: Final = 6


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """Return a text without the given secrets, and without what is shaped like one."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, REDACTED)
    return SECRET_SHAPES.sub(REDACTED, text)
