"""What can happen to a saga: the lines of its audit trail, and what its state is made of."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mcp_orchestrator.saga.values import JsonObject


class EventType(StrEnum):
    """The kinds of audit events."""

    SAGA_START = "saga_start"
    STEP_START = "step_start"
    STEP_COMPLETE = "step_complete"
    STEP_FAILED = "step_failed"
    STEP_RETRY = "step_retry"
    STEP_PROGRESS = "step_progress"
    MEMO_RECORDED = "memo_recorded"
    COMPENSATION_START = "compensation_start"
    COMPENSATION_RETRY = "compensation_retry"
    COMPENSATION_COMPLETE = "compensation_complete"
    COMPENSATION_FAILED = "compensation_failed"
    SAGA_COMPLETE = "saga_complete"
    SAGA_FAILED = "saga_failed"
    SAGA_ABORTED = "saga_aborted"
    ABORT_REQUESTED = "abort_requested"
    SIGNAL = "signal"
    APPROVAL = "approval"
    TAKEOVER = "takeover"
    HELD = "held"
    RELEASED = "released"
    MANUAL_RETRY = "manual_retry"
    MANUAL_COMPENSATE = "manual_compensate"
    MANUAL_RESOLVE = "manual_resolve"
    MANUAL_REWIND = "manual_rewind"
    REWOUND = "rewound"
    RECONCILED = "reconciled"
    ERASED = "erased"
    FORKED = "forked"
    STEP_SKIPPED = "step_skipped"

    __hash__ = str.__hash__  # Enum's own is a Python function, and tables are asked all the time


#: What an event without data has; nobody changes an event's data.
_NOTHING: JsonObject = {}


class SagaEvent(NamedTuple):
    """One thing that happened.

    Attributes:
        type: what.
        at: when.
        step: the index of the step it happened to.
        data: what the type needs, such as ``result`` of ``step_complete``.
        error: the message of a failure.
        stack: where it came from, for the audit only.
        duration_ms: how long it took, in milliseconds.
    """

    type: EventType
    at: datetime
    step: int | None = None
    data: JsonObject = _NOTHING
    error: str | None = None
    stack: str | None = None
    duration_ms: float | None = None
