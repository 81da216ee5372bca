"""JSON in one canonical text form: what is hashed is byte for byte what is stored.

PostgreSQL's JSONB rewrites numbers and refuses the character U+0000, so sagas keep their JSON as
ASCII text: sorted keys, no blanks, everything else escaped.
"""

import json
from typing import Any, cast

from pydantic import JsonValue
from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

from mcp_orchestrator.errors import InvalidInputError, LimitExceededError

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, check_circular=False
)


#: What most columns hold most of the time.
_EMPTY: dict[type, str] = {list: "[]", dict: "{}"}


class CanonicalText(str):
    """A value that is in its canonical form already."""

    __slots__ = ()


def canonical_json(value: object) -> str:
    """Return the canonical text of a JSON value.

    Raises:
        InvalidInputError: the value is not JSON (a NaN, a date, an object of a class).
    """
    if type(value) is CanonicalText:
        return str(value)  # the drivers take an exact str as it is, and look for adapters else
    if not value and (empty := _EMPTY.get(type(value))) is not None:
        return empty
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"A value is not JSON: {error}.",
            remedy="Use objects, lists, strings, finite numbers, booleans and null.",
        ) from error


def as_json(value: object, *, longest: int | None = None) -> JsonValue:
    """Return what a value will be after it was stored and read back.

    Args:
        value: what shall be stored.
        longest: how many characters of JSON are allowed; none for any number.

    Raises:
        InvalidInputError: the value is not JSON.
        LimitExceededError: it is too long.
    """
    if value is None or value is True or value is False:
        return value
    text = canonical_json(value)
    if longest is not None and len(text) > longest:
        raise LimitExceededError(
            f"A value has {len(text)} characters of JSON; {longest} are allowed.",
            remedy="Store large data elsewhere and pass a reference to it.",
        )
    return cast("JsonValue", json.loads(text))


def clean_text(text: str, *, longest: int = 4000) -> str:
    """Make foreign text storable on every database: no NUL, no lone surrogate, not too long."""
    text = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} … {text[-half:]}"


class CanonicalJson(TypeDecorator[Any]):
    """A column of canonical JSON text; NULL in SQL is None in Python."""

    impl = Text
    cache_ok = True

    def process_bind_param(
        self,
        value: object,
        dialect: Dialect,  # noqa: ARG002 - the signature is SQLAlchemy's
    ) -> str | None:
        """Write the canonical form."""
        return None if value is None else canonical_json(value)

    def process_result_value(
        self,
        value: str | None,
        dialect: Dialect,  # noqa: ARG002 - the signature is SQLAlchemy's
    ) -> Any:
        """Read it back."""
        return None if value is None else json.loads(value)
