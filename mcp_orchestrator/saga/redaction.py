"""Keeping secrets out of the audit trail: by the names of fields, and by what keys look like."""

import re
from collections.abc import Collection
from functools import lru_cache

from pydantic import JsonValue

from mcp_orchestrator.telemetry.redaction import REDACTED, redact

#: A field whose name ends so, once blanks, dots, dashes and underscores are dropped, is a secret.
_SECRET_ENDINGS = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey",
    "authorization", "credential", "credentials", "cookie",
)  # fmt: skip


class Redactor:
    """Hides secrets in values and texts.

    Args:
        fields: names of further fields to hide, whatever their case.
    """

    def __init__(self, fields: Collection[str] = ()) -> None:
        self._fields = frozenset(_plain(field) for field in fields)

    def value(self, value: JsonValue) -> JsonValue:
        """Return a copy of a value without its secrets."""
        if isinstance(value, dict):
            return {
                key: REDACTED if self._is_secret(key) else self.value(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """Return a text without what looks like a key, a token or a password in a URL."""
        return redact(text)

    def _is_secret(self, field: str) -> bool:
        plain = _plain(field)
        return plain.endswith(_SECRET_ENDINGS) or plain in self._fields


@lru_cache(maxsize=256)
def redactor_of(fields: tuple[str, ...]) -> Redactor:
    """Return the redactor of a definition."""
    return Redactor(fields)


@lru_cache(maxsize=4096)
def _plain(field: str) -> str:
    return re.sub(r"[\s._-]", "", field).lower()
