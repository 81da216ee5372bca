"""Queued tasks of one caller, and the signals that they send."""

from dataclasses import replace
from datetime import datetime

from pydantic import JsonValue

from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.queue import (
    NewTask,
    QueueStats,
    Rate,
    Task,
    TaskFilter,
    TaskPriority,
    TaskQueue,
    TaskStatus,
)
from mcp_orchestrator.queue.schedule import Schedule, Scheduler
from mcp_orchestrator.queue.signals import Signal, SignalRouter, SignalRule
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

    async def add_task(self, new: NewTask) -> Task:
        """Add a task of the caller's, whoever's it says it is."""
        return (await self._queue.add_tasks([new._replace(owner=self._sight.owner)]))[0]

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

    async def pause(self, what: str | TaskPriority) -> None:
        """Hand out no more tasks of a type or of a priority; for administrators."""
        self._sight.require_administrator()
        await self._queue.pause(what)

    async def resume(self, what: str | TaskPriority) -> None:
        """Hand out tasks of a type or of a priority again; for administrators."""
        self._sight.require_administrator()
        await self._queue.resume(what)

    async def limit_type(
        self, task_type: str, concurrency: int | None = None, *, rate: Rate | None = None
    ) -> None:
        """Bound a type over all workers; for administrators."""
        self._sight.require_administrator()
        await self._queue.limit_type(task_type, concurrency, rate=rate)


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
    """Publishes signals in the caller's name; rules concern everybody's signals."""

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

    async def add_rule(self, rule: SignalRule) -> None:
        """Add a rule, or replace the one of its name; for administrators."""
        self._sight.require_administrator()
        await self._signals.add_rule(rule)

    async def remove_rule(self, name: str) -> None:
        """Remove a rule; for administrators."""
        self._sight.require_administrator()
        await self._signals.remove_rule(name)

    async def list_rules(self) -> list[SignalRule]:
        """Return every rule, by name; for administrators."""
        self._sight.require_administrator()
        return await self._signals.list_rules()

    async def list_unrouted(self, limit: int = 50) -> list[Signal]:
        """Return the signals that nothing wanted, newest first; for administrators."""
        self._sight.require_administrator()
        return await self._signals.list_unrouted(limit)

    async def route_again(self, signal_id: str) -> Signal:
        """Apply the present rules to a signal of the caller's."""
        with self._sight.hiding("signal", signal_id):
            signal = await self._signals.get(signal_id)
            self._sight.require(signal.owner)
        return await self._signals.route_again(signal_id)


class OwnedSchedules:
    """Schedules belong to nobody: what they add is the whole team's."""

    def __init__(self, schedules: Scheduler, sight: Sight) -> None:
        self._schedules = schedules
        self._sight = sight

    async def add(self, schedule: Schedule) -> datetime:
        """Add a schedule, or replace the one of its name; for administrators."""
        self._sight.require_administrator()
        return await self._schedules.add(schedule)

    async def remove(self, name: str) -> None:
        """Remove a schedule; for administrators."""
        self._sight.require_administrator()
        await self._schedules.remove(name)

    async def list_schedules(self) -> list[tuple[Schedule, datetime]]:
        """Return every schedule and when it fires next; for administrators."""
        self._sight.require_administrator()
        return await self._schedules.list_schedules()
