"""Checking what callers ask for, before anything is written."""

from datetime import UTC, datetime, timedelta
from math import isfinite

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue.config import TaskQueueConfig
from mcp_orchestrator.queue.encoding import encode_json, new_task_id, unique_key
from mcp_orchestrator.queue.port import NewEntry
from mcp_orchestrator.queue.task import NewTask, Task, TaskPriority, TaskStatus
from mcp_orchestrator.telemetry.tracing import current_traceparent

_LONGEST_NAME = 200
_LONGEST_KEY = 500
#: The longest delay or time-out, in seconds: ten years.
_LONGEST_WAIT = 10 * 366 * 86_400.0


def admit(new: NewTask, config: TaskQueueConfig, now: datetime) -> NewEntry:
    """Return the task that a request becomes, with the queue's defaults filled in.

    Args:
        new: the request.
        config: the queue's settings.
        now: the present moment, at which the task comes into being.

    Raises:
        InvalidInputError: a bad type name, delay, bound or payload.
        LimitExceededError: the payload is too long.
    """
    check_text(new.task_type, "task type")
    if new.idempotency_key is not None:
        check_text(new.idempotency_key, "idempotency key", _LONGEST_KEY)
    if new.owner is not None:
        check_text(new.owner, "owner", _LONGEST_KEY)
    payload = encode_json(new.payload, what="payload", limit=config.max_payload_bytes)
    timeout = config.task_timeout if new.timeout is None else new.timeout
    if timeout is not None:
        _check_number(timeout, "timeout", least=0.001)
    retries = config.max_retries
    if new.max_retries is not None:
        _check_number(new.max_retries, "max_retries", least=0)
        retries = int(new.max_retries)
    available_at = _available_at(new, now)
    task = Task(
        new_task_id(),
        new.task_type,
        new.payload,
        _priority(new.priority),
        TaskStatus.SCHEDULED if available_at > now else TaskStatus.PENDING,
        0,
        retries,
        timeout,
        new.idempotency_key,
        new.owner,
        now,
        available_at,
        preemptible=new.preemptible,
        traceparent=current_traceparent(),
    )
    if new.unique_while_pending and new.idempotency_key is None:
        raise InvalidInputError("Uniqueness while pending needs an idempotency key.")
    unique = unique_key(new.owner, new.idempotency_key, while_pending=new.unique_while_pending)
    return NewEntry(task, payload, unique)


def pausable(what: str | TaskPriority) -> tuple[str, str]:
    """Return the kind and the name of what is to be paused: a type or a priority."""
    return ("priority", str(int(what))) if isinstance(what, TaskPriority) else ("type", what)


def check_text(text: str, what: str, longest: int = _LONGEST_NAME) -> None:
    """Refuse a name that is empty, too long or not printable.

    Raises:
        InvalidInputError: it is.
    """
    if not text or len(text) > longest or not text.isprintable():
        raise InvalidInputError(
            f"{text[:80]!r} is not a valid {what}.",
            remedy=f"Use 1 to {longest} printable characters.",
        )


def _available_at(new: NewTask, now: datetime) -> datetime:
    """Return the moment before which a task may not start; a moment that has passed is now."""
    if new.run_at is None and new.delay == 0:
        return now
    _check_number(new.delay, "delay", least=0)
    if new.run_at is None:
        return now + timedelta(seconds=new.delay)
    if new.delay > 0:
        raise InvalidInputError("A task has either a delay or a run_at.")
    if new.run_at.tzinfo is None:
        raise InvalidInputError(
            f"run_at {new.run_at.isoformat()} has no time zone.",
            remedy="Write it as 2030-01-01T06:00:00+00:00.",
        )
    _check_number(max((new.run_at - now).total_seconds(), 0), "wait until run_at", least=0)
    return max(new.run_at.astimezone(UTC), now)


def _priority(value: int) -> TaskPriority:
    if isinstance(value, TaskPriority):
        return value
    try:
        return TaskPriority(value)
    except ValueError as error:
        named = ", ".join(f"{one.name} {one.value}" for one in TaskPriority)
        raise InvalidInputError(f"{value!r} is not a priority.", remedy=f"Use {named}.") from error


def _check_number(value: float, what: str, *, least: float) -> None:
    if not isfinite(value) or not least <= value <= _LONGEST_WAIT:
        raise InvalidInputError(
            f"{value!r} is not a valid {what}.",
            remedy=f"Use a number from {least} to {_LONGEST_WAIT:.0f}.",
        )
