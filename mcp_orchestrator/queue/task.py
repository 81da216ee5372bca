"""What a task is: its priority, its states, its history. Pure data, no input or output.

What is made for every task is a named tuple: a frozen dataclass takes six times as long to make.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Literal, NamedTuple

from pydantic import JsonValue


class TaskPriority(IntEnum):
    """How urgent a task is; among ready tasks the higher value always goes first."""

    CRITICAL = 100
    HIGH = 75
    NORMAL = 50
    LOW = 25


#: How people and models name priorities; the names of ``TaskPriority``.
PriorityName = Literal["CRITICAL", "HIGH", "NORMAL", "LOW"]
#: Every priority, the most urgent first.
BY_URGENCY = tuple(sorted(TaskPriority, reverse=True))


class TaskStatus(StrEnum):
    """Where a task stands.

    ``FAILED`` is a refusal that no retry would change; ``DEAD_LETTER`` is a task that used up its
    retries and waits for a person. A task that waits for its next attempt is ``SCHEDULED``.
    """

    PENDING = "pending"
    SCHEDULED = "scheduled"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD_LETTER = "dead_letter"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the task has ended (a person may still requeue a dead letter)."""
        return self in FINAL


#: The states from which only a person's requeue leads on.
FINAL = frozenset(
    {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.DEAD_LETTER, TaskStatus.CANCELLED}
)

#: Every permitted change of state.
TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.PROCESSING, TaskStatus.CANCELLED}),
    TaskStatus.SCHEDULED: frozenset({TaskStatus.PENDING, TaskStatus.CANCELLED}),
    TaskStatus.PROCESSING: FINAL | {TaskStatus.PENDING, TaskStatus.SCHEDULED},
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.PENDING}),
    TaskStatus.DEAD_LETTER: frozenset({TaskStatus.PENDING}),
    TaskStatus.CANCELLED: frozenset(),
}


class EventKind(StrEnum):
    """What a line of a task's history says happened."""

    ATTEMPT_FAILED = "attempt_failed"
    WORKER_LOST = "worker_lost"
    HANDED_BACK = "handed_back"
    PREEMPTED = "preempted"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One line of a task's history; what goes as planned leaves none."""

    at: datetime
    kind: EventKind
    attempt: int
    worker_id: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a running handler says it has come."""

    message: str
    current: float | None = None
    total: float | None = None


class NewTask(NamedTuple):
    """What a caller asks for; see ``TaskQueue.add_task`` for the meaning of each field.

    ``max_retries`` and ``timeout`` (seconds) fall back to the queue's configuration.
    """

    task_type: str
    payload: dict[str, JsonValue]
    priority: TaskPriority = TaskPriority.NORMAL
    idempotency_key: str | None = None
    delay: float = 0
    max_retries: int | None = None
    timeout: float | None = None
    owner: str | None = None
    preemptible: bool = False
    unique_while_pending: bool = False
    run_at: datetime | None = None


class Task(NamedTuple):
    """One task as the queue holds it at one moment.

    ``attempt`` counts deliveries that were not handed back: 0 before the first, 1 during it.
    ``traceparent`` is the span it was added in (W3C Trace Context), where traces are recorded.
    ``timeout`` bounds one attempt, in seconds. Times are aware UTC datetimes.
    """

    task_id: str
    task_type: str
    payload: dict[str, JsonValue]
    priority: TaskPriority
    status: TaskStatus
    attempt: int
    max_retries: int
    timeout: float | None
    idempotency_key: str | None
    owner: str | None
    created_at: datetime
    available_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: JsonValue | None = None
    error: str | None = None
    progress: TaskProgress | None = None
    worker_id: str | None = None
    cancel_requested: bool = False
    preemptible: bool = False
    traceparent: str | None = None
    history: tuple[TaskEvent, ...] = ()
