"""What is to be recorded about a delivery that has ended, by how it ended."""

from datetime import timedelta

from pydantic import JsonValue

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.queue import failure
from mcp_orchestrator.queue.backoff import Backoff
from mcp_orchestrator.queue.config import TaskQueueConfig
from mcp_orchestrator.queue.encoding import encode_json
from mcp_orchestrator.queue.lease import Lease
from mcp_orchestrator.queue.port import Settlement
from mcp_orchestrator.queue.task import EventKind, Task, TaskEvent, TaskStatus


class Outcomes:
    """Decides what becomes of tasks; nothing is written here.

    Args:
        config: the queue's settings.
        clock: the source of time.
        backoff: how failed tasks wait.
    """

    def __init__(self, config: TaskQueueConfig, clock: Clock, backoff: Backoff) -> None:
        self._config = config
        self._clock = clock
        self._backoff = backoff
        self._retention = timedelta(seconds=config.retention_seconds)

    def completed(self, lease: Lease, result: JsonValue) -> Settlement:
        """Return the end of a task that has a result.

        Raises:
            InvalidInputError: the result is not JSON.
            LimitExceededError: the result is too long.
        """
        text = encode_json(result, what="result", limit=self._config.max_result_bytes)
        now = self._clock.now()
        return Settlement(lease, TaskStatus.COMPLETED, now, now + self._retention, text)

    def failed(
        self,
        lease: Lease,
        error: str | BaseException,
        task: Task,
        *,
        retry_after: float | None = None,
        retryable: bool = True,
    ) -> Settlement:
        """Return the end of a failed attempt: another one later, or the dead letters.

        Args:
            lease: the delivery.
            error: what went wrong.
            task: the task as it was delivered.
            retry_after: the least wait before the next attempt, in seconds.
            retryable: False when another attempt would fail in the same way.
        """
        now = self._clock.now()
        status, available_at = TaskStatus.SCHEDULED, None
        if not retryable:
            status = TaskStatus.FAILED
        elif task.attempt > task.max_retries:
            status = TaskStatus.DEAD_LETTER
        else:
            wait = self._backoff.delay(task.attempt, retry_after)
            available_at = now + timedelta(seconds=wait)
        return Settlement(
            lease,
            status,
            now,
            self._config.expiry(status, now),
            error=failure.summary(error),
            available_at=available_at,
            event=self.event(EventKind.ATTEMPT_FAILED, task, failure.trace(error)),
        )

    def handed_back(self, lease: Lease, task: Task, kind: EventKind) -> Settlement:
        """Return the end of a delivery that goes back to the head of its priority, uncounted."""
        event = self.event(kind, task)
        expires_at = self._config.expiry(TaskStatus.PENDING, event.at)
        return Settlement(
            lease, TaskStatus.PENDING, event.at, expires_at, counts=False, event=event
        )

    def cancelled(self, lease: Lease, task: Task) -> Settlement:
        """Return the end of a running task that was stopped because somebody asked for it."""
        event = self.event(EventKind.CANCELLED, task)
        expires_at = self._config.expiry(TaskStatus.CANCELLED, event.at)
        return Settlement(lease, TaskStatus.CANCELLED, event.at, expires_at, event=event)

    def event(self, kind: EventKind, task: Task, detail: str | None = None) -> TaskEvent:
        """Return a line for a task's history, of this moment."""
        return TaskEvent(self._clock.now(), kind, task.attempt, task.worker_id, detail)
