"""What the author of a handler sees: the handler's shape, its context, and how to ask for more."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pydantic import JsonValue

from mcp_orchestrator.queue.task import TaskProgress

#: Does the work of one task type; what it returns is kept as the task's result.
#: It may be called again after a crash, with the same ``context.idempotency_key``.
TaskHandler = Callable[[dict[str, JsonValue], "TaskContext"], Awaitable[JsonValue]]


class RetryLater(Exception):  # noqa: N818 - a handler's wish, not an error of ours
    """Raised by a handler to be tried again, not before a number of seconds.

    Args:
        message: why; kept as the task's error.
        after: the least wait, in seconds; None for the queue's own back-off.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class TaskContext(NamedTuple):
    """What a handler is told about the task it runs.

    Args:
        task_id: the task.
        attempt: which attempt this is, counted from 1.
        idempotency_key: the same for every attempt of the task; pass it on to outside systems so
            that an effect is not repeated.
        owner: whose task it is.
        record: how progress is kept; given by the worker.
    """

    task_id: str
    attempt: int
    idempotency_key: str
    owner: str | None
    record: Callable[[TaskProgress], Awaitable[None]]

    async def report_progress(
        self, message: str, current: float | None = None, total: float | None = None
    ) -> None:
        """Let those who wait know how far the work has come.

        Raises:
            StaleLeaseError: somebody else has taken the task over; stop working on it.
        """
        await self.record(TaskProgress(message, current, total))
