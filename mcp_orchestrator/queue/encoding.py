"""Tasks as text and numbers: JSON with a size bound, moments as microseconds, ids and keys."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from json import encoder as json_encoder
from typing import Any, cast

from pydantic import JsonValue

from mcp_orchestrator.errors import InvalidInputError, LimitExceededError
from mcp_orchestrator.queue.task import EventKind, TaskEvent, TaskProgress

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_Maker = Callable[..., Callable[[object, int], Sequence[str]]]


def _one_encoder() -> Callable[[object], str]:
    """Return ``_encoder.encode`` as one function: it would else build its parts at every call."""
    make: _Maker | None = getattr(json_encoder, "c_make_encoder", None)
    if make is None:  # no C accelerator
        return _encoder.encode
    encode = make(
        None, _encoder.default, json_encoder.encode_basestring, None, ":", ",", False, False, False
    )
    return lambda value: "".join(encode(value, 0))


_encode = _one_encoder()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def new_task_id() -> str:
    """Return an id that nobody else will ever draw."""
    return f"task_{os.urandom(16).hex()}"


def to_micros(moment: datetime) -> int:
    """Return microseconds since 1970; exact, and small enough for a 64-bit float until 2255."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime of a number of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=micros)


#: How the text of a key ends that is free again when its task has ended.
FREED_AT_END = ",1]"


def unique_key(
    owner: str | None, idempotency_key: str | None, *, while_pending: bool = False
) -> str | None:
    """Return the text under which an idempotency key is unique: each owner has its own keys."""
    if idempotency_key is None:
        return None
    parts = [owner, idempotency_key, 1] if while_pending else [owner, idempotency_key]
    return json.dumps(parts, separators=(",", ":"))


def key_after_end(unique: str | None) -> str | None:
    """Return what a task that has ended still holds of its key."""
    return None if unique is None or unique.endswith(FREED_AT_END) else unique


def encode_json(value: object, *, what: str, limit: int) -> str:
    """Return a value as compact JSON text.

    Args:
        value: what to encode.
        what: how errors name it, such as ``"payload"``.
        limit: the longest permitted text, in bytes of UTF-8.

    Raises:
        InvalidInputError: it is not JSON (NaN, a set, a lone surrogate …).
        LimitExceededError: it is too long.
    """
    try:
        text = _encode(value)
        size = len(text) if text.isascii() else len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"The {what} is not JSON: {error}.",
            remedy="Use only objects, arrays, strings, finite numbers, booleans and null.",
        ) from error
    if size > limit:
        raise LimitExceededError(
            f"The {what} is {size:,} bytes long; at most {limit:,} are taken.",
            remedy="Store the data elsewhere and pass a reference to it.",
        )
    return text


def decode_json(text: str | None) -> JsonValue | None:
    """Return the value of a JSON text; None for no text."""
    return None if text is None else cast("JsonValue", json.loads(text))


def encode_event(event: TaskEvent) -> dict[str, JsonValue]:
    """Return one line of history as JSON data."""
    return {
        "at": to_micros(event.at),
        "kind": event.kind.value,
        "attempt": event.attempt,
        "worker": event.worker_id,
        "detail": event.detail,
    }


def decode_history(lines: "Sequence[dict[str, Any]]") -> tuple[TaskEvent, ...]:
    """Return the history that a back end stored."""
    return tuple(
        TaskEvent(
            from_micros(int(line["at"])),
            EventKind(line["kind"]),
            int(line["attempt"]),
            line.get("worker"),
            line.get("detail"),
        )
        for line in lines
    )


def encode_progress(progress: TaskProgress) -> dict[str, JsonValue]:
    """Return progress as JSON data."""
    return {
        "message": progress.message,
        "current": progress.current,
        "total": progress.total,
    }


def decode_progress(data: "dict[str, Any] | None") -> TaskProgress | None:
    """Return the progress that a back end stored."""
    return None if data is None else TaskProgress(data["message"], data["current"], data["total"])
