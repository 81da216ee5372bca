"""Queued tasks of one caller, and the signals that they send."""

from dataclasses import replace

from pydantic import JsonValue

from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.queue import QueueStats, Task, TaskFilter, TaskPriority, TaskQueue, TaskStatus
from mcp_orchestrator.queue.signals import Signal, SignalRouter
from mcp_orchestrator.server.owned.sight import Sight

_PAGE = 200


class OwnedQueue:
    """The task queue as the caller sees it; each method is the queue's of that name.

    Attributes:
        dead_letters: the caller's tasks that used up their retries.

    Args:
        queue: the queue.
        sight: whose tasks these are.
    """

    def __init__(self, queue: TaskQueue, sight: Sight) -> None:
        self._queue = queue
        self._sight = sight
        self.dead_letters = OwnedDeadLetters(queue, self, sight)

    async def add_task(
        self,
        task_type: str,
        payload: dict[str, JsonValue],
        *,
        priority: TaskPriority = TaskPriority.NORMAL,
        idempotency_key: str | None = None,
        delay: float = 0,
        max_retries: int | None = None,
        timeout: float | None = None,
        preemptible: bool = False,
        unique_while_pending: bool = False,
    ) -> Task:
        """Add a task of the caller's."""
        return await self._queue.add_task(
            task_type,
            payload,
            priority=priority,
            idempotency_key=idempotency_key,
            delay=delay,
            max_retries=max_retries,
            timeout=timeout,
            owner=self._sight.owner,
            preemptible=preemptible,
            unique_while_pending=unique_while_pending,
        )

    async def get_task(self, task_id: str) -> Task:
        """Return a task of the caller's; raises NotFoundError."""
        with self._sight.hiding("task", task_id):
            task = await self._queue.get_task(task_id)
            self._sight.require(task.owner)
        return task

    async def wait_for(self, task_id: str, timeout: float) -> Task:
        """Return a task of the caller's when it has ended, or as it stands after the time-out."""
        await self.get_task(task_id)
        return await self._queue.wait_for(task_id, timeout)

    async def list_tasks(self, task_filter: TaskFilter | None = None) -> list[Task]:
        """Return the caller's tasks, newest first."""
        wanted = task_filter or TaskFilter()
        if not self._sight.sees_all:
            wanted = replace(wanted, owner=self._sight.owner)
        return await self._queue.list_tasks(wanted)

    async def cancel_task(self, task_id: str) -> Task:
        """Cancel a task of the caller's."""
        await self.get_task(task_id)
        return await self._queue.cancel_task(task_id)

    async def stats(self) -> QueueStats:
        """Return the counts of the whole queue; what workers run is for administrators only."""
        stats = await self._queue.stats()
        if self._sight.sees_all:
            return stats
        return replace(stats, workers=tuple(replace(one, running=()) for one in stats.workers))


class OwnedDeadLetters:
    """The caller's dead letters."""

    def __init__(self, queue: TaskQueue, owned: OwnedQueue, sight: Sight) -> None:
        self._queue = queue
        self._owned = owned
        self._sight = sight

    async def list_tasks(
        self, task_type: str | None = None, *, before: str | None = None, limit: int = 50
    ) -> list[Task]:
        """Return the caller's dead letters, newest first."""
        return await self._owned.list_tasks(
            TaskFilter(TaskStatus.DEAD_LETTER, task_type, before=before, limit=limit)
        )

    async def retry(self, task_id: str) -> Task:
        """Give a dead letter of the caller's all its attempts again."""
        await self._owned.get_task(task_id)
        return await self._queue.dead_letters.retry(task_id)

    async def retry_all(self, task_type: str | None = None) -> int:
        """Try the caller's dead letters again; return how many there were."""
        if self._sight.sees_all:
            return await self._queue.dead_letters.retry_all(task_type)
        retried = 0
        while page := await self.list_tasks(task_type, limit=_PAGE):
            for task in page:
                await self._queue.dead_letters.retry(task.task_id)
                retried += 1
        return retried


class OwnedSignals:
    """Publishes signals in the caller's name."""

    def __init__(self, signals: SignalRouter, sight: Sight) -> None:
        self._signals = signals
        self._sight = sight

    async def publish(
        self, name: str, payload: dict[str, JsonValue], *, signal_id: str | None = None
    ) -> Signal:
        """Keep a signal of the caller's and start what the rules say.

        Raises:
            ConflictError: somebody else has sent a signal of this id.
        """
        signal = await self._signals.publish(
            name, payload, signal_id=signal_id, owner=self._sight.owner
        )
        if not self._sight.sees(signal.owner):
            raise ConflictError(
                f"The signal id {signal.signal_id[:80]!r} is taken.", remedy="Choose another."
            )
        return signal
