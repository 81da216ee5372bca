"""What a queue needs of the place that holds its tasks; one back end for each such place.

A back end makes every transition atomic and fenced: it names the lease it was made under, and is
refused when the task has been handed out again or has ended meanwhile.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from mcp_orchestrator.errors import NotFoundError, QueueFullError, StaleLeaseError
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.limit import LimitStats, TypeLimit
from mcp_orchestrator.queue.task import Task, TaskEvent, TaskPriority, TaskProgress, TaskStatus

#: A worker silent for this many lease times is no longer counted as alive.
_SILENT_LEASES = 2
#: Wait between attempts to reach a back end that is away, in seconds.
AWAY_PAUSE = 0.5


class NewEntry(NamedTuple):
    """A task to store.

    Args:
        task: the task.
        payload: its payload, as the JSON text that was checked.
        unique: the text that only one task may hold, if it has an idempotency key.
    """

    task: Task
    payload: str
    unique: str | None


@dataclass(frozen=True, slots=True)
class TakeRequest:
    """A worker's wish for work.

    Args:
        worker_id: who asks.
        count: the most tasks it has room for.
        task_types: the types it can handle; None for every type.
        fair_slots: how many of them go to the oldest waiting task of a lower priority.
        now: the present moment.
        lease_until: when the leases end unless they are renewed.
        least_priority: take nothing less urgent.
    """

    worker_id: str
    count: int
    task_types: Collection[str] | None
    fair_slots: int
    now: datetime
    lease_until: datetime
    least_priority: TaskPriority = TaskPriority.LOW


class Settlement(NamedTuple):
    """How one delivery ended.

    Args:
        lease: under which delivery.
        status: COMPLETED, FAILED, DEAD_LETTER or CANCELLED for ever; SCHEDULED for another
            attempt at ``available_at``; PENDING to hand it back to the head of its priority.
        at: when.
        result: JSON text, when completed.
        error: one line, when failed.
        available_at: when the next attempt may begin.
        counts: False to give the attempt back, because it was not the task's fault.
        event: a line for the history.
        expires_at: when the task may be forgotten, if this ends it. Always given, because a
            task whose cancellation was asked for ends where it would have been tried again.
    """

    lease: Lease
    status: TaskStatus
    at: datetime
    expires_at: datetime
    result: str | None = None
    error: str | None = None
    available_at: datetime | None = None
    counts: bool = True
    event: TaskEvent | None = None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One live worker, as its last heartbeat described it."""

    worker_id: str
    host: str
    process_id: int
    concurrency: int
    task_types: tuple[str, ...] | None
    running: tuple[str, ...]
    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a process tells the queue at regular intervals."""

    leases: tuple[Lease, ...]
    workers: tuple[WorkerInfo, ...]
    now: datetime
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """What the queue answers: leases that were lost, and leases whose task is to be cancelled."""

    lost: tuple[Lease, ...] = ()
    cancelled: tuple[Lease, ...] = ()


def alive_since(now: datetime, lease_seconds: float) -> datetime:
    """Return the moment since which a worker must have been heard to count as alive."""
    return now - timedelta(seconds=lease_seconds * _SILENT_LEASES)


class LeaseRenewer(Protocol):
    """A connection of its own, for the thread that keeps leases alive."""

    async def renew(self, heartbeat: Heartbeat) -> HeartbeatReply:
        """Extend the leases and record the workers."""
        ...

    async def forget(self, worker_id: str, seen_before: datetime) -> None:
        """Remove a worker that has stopped, and those last seen before a moment."""
        ...


@dataclass(frozen=True, slots=True)
class PriorityStats:
    """The waiting tasks of one priority; the age is in seconds, None when none waits."""

    waiting: int
    oldest_age: float | None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The queue at one moment."""

    backend: str
    by_priority: dict[TaskPriority, PriorityStats]
    by_status: dict[TaskStatus, int]
    workers: tuple[WorkerInfo, ...] = ()
    paused_types: tuple[str, ...] = ()
    paused_priorities: tuple[TaskPriority, ...] = ()
    limits: tuple[LimitStats, ...] = ()

    @property
    def waiting(self) -> int:
        """Return how many tasks are ready and wait for a worker."""
        return sum(one.waiting for one in self.by_priority.values())


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list, newest first. ``before`` is the last task id of the page before."""

    status: TaskStatus | None = None
    task_type: str | None = None
    owner: str | None = None
    before: str | None = None
    limit: int = 50


def stale_lease(lease: Lease) -> StaleLeaseError:
    """Return the refusal of a late writer."""
    return StaleLeaseError(
        f"The task {lease.task_id} has been taken over or has ended; this outcome came too late.",
        remedy="Drop the outcome: the task's present holder decides.",
    )


def unknown_task(task_id: str) -> NotFoundError:
    """Return the answer to an id that is not, or no longer, known."""
    return NotFoundError(
        f"There is no task {task_id[:80]!r}.",
        remedy="Finished tasks are kept for a set time; list_tasks shows those there are.",
    )


def queue_full(max_length: int) -> QueueFullError:
    """Return the refusal of a full queue."""
    return QueueFullError(
        f"The queue is full: at most {max_length:,} tasks may wait.",
        remedy="Try again later, start more workers, or raise the queue's max_length.",
    )


class QueueBackend(Protocol):
    """The place that holds the tasks."""

    async def open(self) -> None:
        """Connect; raise BackendUnavailableError when nothing answers."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...

    async def ping(self) -> str:
        """Return the back end's name and version."""
        ...

    async def add(self, entries: Sequence[NewEntry]) -> list[Task]:
        """Store tasks; for a known idempotency key return the task that has it."""
        ...

    async def take(self, request: TakeRequest) -> list[Delivery]:
        """Lease ready tasks, the most urgent first; recover what dead workers held."""
        ...

    async def wait_for_work(self, request: TakeRequest, timeout: float) -> None:
        """Return when ``take`` may find something, or after a number of seconds."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> list[StaleLeaseError | None]:
        """Record how deliveries ended; return for each its refusal if it came too late."""
        ...

    async def record_progress(self, lease: Lease, progress: TaskProgress) -> None:
        """Keep what the handler said last; raise StaleLeaseError for a late one."""
        ...

    async def cancel(self, task_id: str, event: TaskEvent, expires_at: datetime) -> None:
        """End a waiting task; ask the worker of a running one to stop."""
        ...

    async def watch_cancels(
        self, worker_id: str, running: Callable[[], Collection[str]], cancel: Callable[[str], None]
    ) -> None:
        """Call ``cancel`` with the ids of running tasks that are to stop; runs until cancelled.

        Raises:
            BackendUnavailableError: nothing answers any more; the caller may begin again.
        """
        ...

    async def get(self, task_id: str) -> Task | None:
        """Return one task."""
        ...

    async def wait_until_final(self, task_id: str, timeout: float) -> None:
        """Return when the task may have ended, or after a number of seconds."""
        ...

    async def list_tasks(self, task_filter: TaskFilter) -> list[Task]:
        """Return tasks, newest first."""
        ...

    async def stats(self, now: datetime) -> QueueStats:
        """Count."""
        ...

    async def requeue(self, task_id: str, event: TaskEvent, now: datetime) -> bool:
        """Give a dead letter or failed task all its attempts again; False if it is neither."""
        ...

    async def purge_dead(self, task_type: str | None) -> int:
        """Forget dead letters, all or those of one type, and return how many."""
        ...

    async def set_paused(self, kind: str, name: str, *, paused: bool) -> None:
        """Stop or go on handing out one ``"type"`` or one ``"priority"``."""
        ...

    async def limit_type(self, task_type: str, limit: TypeLimit) -> None:
        """Bound how many tasks of a type run at once and start in a span, over all workers."""
        ...

    def renewer(self) -> AbstractAsyncContextManager[LeaseRenewer]:
        """Open the connection of the renewal thread, in the event loop of that thread."""
        ...
