"""The hash chain of a saga's audit events: each event's hash covers it and the one before.

Nothing here reads or writes. Altering, removing, inserting or reordering an event breaks every
hash after it; cutting off the end is found by comparing with the head that the saga's own row
keeps.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

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
    covered = {name: _plain(event[name]) for name in COVERED}
    return hashlib.sha256(f"{previous}\n{canonical_json(covered)}".encode("ascii")).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value
