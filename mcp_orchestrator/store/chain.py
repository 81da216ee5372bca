"""The hash chain of a saga's audit events: each event's hash covers it and the one before.

Nothing here reads or writes. Altering, removing, inserting or reordering an event breaks every
hash after it; cutting off the end is found by comparing with the head that the saga's own row
keeps.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from mcp_orchestrator.store.canonical import canonical_json

#: What stands before the first event of every saga.
GENESIS = "0" * 64

#: The columns an event's hash covers, in no order that matters: keys are sorted.
COVERED = (
    "saga_id",
    "sequence",
    "event_type",
    "step_name",
    "step_index",
    "event_data",
    "context_snapshot",
    "error_message",
    "error_stack_trace",
    "timestamp",
    "duration_ms",
    "user_id",
    "ip_address",
    "saga_state_before",
    "saga_state_after",
    "retry_count",
    "runner_id",
    "epoch",
)


def event_hash(previous: str, event: Mapping[str, object]) -> str:
    """Return the SHA-256, in hexadecimal, of an event that follows another.

    Args:
        previous: the hash of the event before, ``GENESIS`` for the first.
        event: the event's columns; only those in ``COVERED`` count.
    """
    return hashlib.sha256(f"{previous}\n{_covered(event)}".encode("ascii")).hexdigest()


def _covered(event: Mapping[str, object]) -> str:
    """Return the canonical JSON of the covered columns, written out since it is so often made."""
    return (
        f'{{"context_snapshot":{_json(event["context_snapshot"])},'
        f'"duration_ms":{_json(event["duration_ms"])},'
        f'"epoch":{_json(event["epoch"])},'
        f'"error_message":{_json(event["error_message"])},'
        f'"error_stack_trace":{_json(event["error_stack_trace"])},'
        f'"event_data":{_json(event["event_data"])},'
        f'"event_type":{_json(event["event_type"])},'
        f'"ip_address":{_json(event["ip_address"])},'
        f'"retry_count":{_json(event["retry_count"])},'
        f'"runner_id":{_json(event["runner_id"])},'
        f'"saga_id":{_json(event["saga_id"])},'
        f'"saga_state_after":{_json(event["saga_state_after"])},'
        f'"saga_state_before":{_json(event["saga_state_before"])},'
        f'"sequence":{_json(event["sequence"])},'
        f'"step_index":{_json(event["step_index"])},'
        f'"step_name":{_json(event["step_name"])},'
        f'"timestamp":{_json(event["timestamp"])},'
        f'"user_id":{_json(event["user_id"])}}}'
    )


def _json(value: object) -> str:
    return _WRITERS.get(type(value), canonical_json)(value)


def _moment(value: datetime) -> str:
    return f'"{value.astimezone(UTC).isoformat(timespec="microseconds")}"'


#: What is quicker than the encoder, for the types that most columns have.
_WRITERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    str: encode_basestring_ascii,
    int: repr,
    datetime: _moment,
}
