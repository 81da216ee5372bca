"""The task queue: what the rest of the program, and its users in Python, call."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import anyio
from pydantic import JsonValue

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.errors import BackendUnavailableError, StaleLeaseError
from mcp_orchestrator.queue.admission import admit, check_text, pausable
from mcp_orchestrator.queue.backends import choose_backend
from mcp_orchestrator.queue.backoff import Backoff
from mcp_orchestrator.queue.coalesce import Coalescer
from mcp_orchestrator.queue.config import TaskQueueConfig
from mcp_orchestrator.queue.dead_letters import DeadLetters
from mcp_orchestrator.queue.handing_out import HandingOut
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.lease_keeper import LeaseKeeper
from mcp_orchestrator.queue.limit import Rate, TypeLimit, check_limit
from mcp_orchestrator.queue.metrics import QueueMetrics
from mcp_orchestrator.queue.outcomes import Outcomes
from mcp_orchestrator.queue.port import (
    QueueStats,
    Settlement,
    TaskFilter,
    unknown_task,
)
from mcp_orchestrator.queue.task import (
    EventKind,
    NewTask,
    Task,
    TaskPriority,
    TaskProgress,
    TaskStatus,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database


class TaskQueue:
    """A durable queue with priorities, leases, retries and a place for dead letters.

    Args:
        config: the queue's settings.
        database: where tasks live when ``config.redis_url`` is not set; migrated.
        committer: the process's writer; the queue starts one of its own where none is given.
        clock: the source of time.
        backoff: how failed tasks wait; made from the configuration where none is given.
        metrics: where to count; nothing is counted where none is given.
    """

    def __init__(
        self,
        config: TaskQueueConfig,
        *,
        database: Database | None = None,
        committer: GroupCommitter | None = None,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
        metrics: QueueMetrics | None = None,
    ) -> None:
        self.config = config
        self._metrics = metrics
        self._clock: Clock = clock or SystemClock()
        self.outcomes = Outcomes(
            config,
            self._clock,
            backoff or Backoff(config.backoff_base_seconds, config.backoff_cap_seconds),
        )
        self._backend = choose_backend(config, database, committer, self._clock)
        self.leases = LeaseKeeper(
            self._backend, lease_seconds=config.lease_seconds, clock=self._clock
        )
        self._settling = Coalescer[Settlement, StaleLeaseError | None](
            self.settle, largest_group=config.batch_size
        )
        self.dead_letters = DeadLetters(self._backend, self._clock)
        self._handing_out = HandingOut(
            self._backend, config, self.leases, self._clock, self._metrics
        )
        self._connected = False

    async def connect(self) -> None:
        """Open the back end; calling it twice does nothing.

        Raises:
            BackendUnavailableError: nothing answers.
        """
        if not self._connected:
            await self._backend.open()
            self._connected = True

    async def close(self) -> None:
        """Stop renewing leases and close every connection of the queue's own."""
        if self._connected:
            self._connected = False
            await self.leases.stop()
            await self._backend.close()

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    async def ping(self) -> str:
        """Return the back end's name and version; raise BackendUnavailableError if away."""
        return await self._backend.ping()

    async def add_task(
        self,
        task_type: str,
        payload: dict[str, JsonValue],
        *,
        priority: TaskPriority = TaskPriority.NORMAL,
        idempotency_key: str | None = None,
        delay: float = 0,
        run_at: datetime | None = None,
        max_retries: int | None = None,
        timeout: float | None = None,
        owner: str | None = None,
        preemptible: bool = False,
        unique_while_pending: bool = False,
    ) -> Task:
        """Add a task; when this returns, the task is durable.

        Args:
            task_type: which handler it is for.
            payload: what the handler gets; JSON.
            priority: how urgent it is.
            idempotency_key: a second task of the same owner with the same key is not added; the
                first one is returned, whatever has become of it.
            delay: seconds before it may start.
            run_at: the moment before which it may not start, with a time zone; not with ``delay``.
            max_retries: attempts after the first; the queue's default where None.
            timeout: the bound on one attempt, in seconds; the queue's default where None.
            owner: whose task it is.
            preemptible: whether a CRITICAL task may take its place while it runs.
            unique_while_pending: the key is free again once the task has ended.

        Raises:
            InvalidInputError: a bad type name, delay, moment, bound or payload.
            LimitExceededError: the payload is too long.
            QueueFullError: as many tasks wait as may wait.
        """
        new = NewTask(
            task_type, payload, priority, idempotency_key, delay, max_retries, timeout, owner,
            preemptible, unique_while_pending, run_at,
        )  # fmt: skip
        return (await self.add_tasks([new]))[0]

    async def add_tasks(self, new: Sequence[NewTask]) -> list[Task]:
        """Add many tasks at once, all or none (on Redis: of each 1,000); see ``add_task``."""
        now = self._clock.now()
        entries = [admit(one, self.config, now) for one in new]
        tasks = await self._backend.add(entries) if entries else []
        if self._metrics is not None:
            self._metrics.added(entries, tasks)
        return tasks

    async def take(
        self,
        worker_id: str,
        count: int,
        *,
        task_types: Collection[str] | None = None,
        least_priority: TaskPriority = TaskPriority.LOW,
    ) -> list[Delivery]:
        """Lease up to ``count`` ready tasks, the most urgent first; nothing ready, none given.

        The leases are renewed until the tasks are settled or the queue is closed.
        """
        return await self._handing_out.take(worker_id, count, task_types, least_priority)

    async def next_deliveries(
        self, worker_id: str, count: int, *, task_types: Collection[str] | None = None
    ) -> list[Delivery]:
        """Lease up to ``count`` tasks, waiting until at least one is ready."""
        return await self._handing_out.next_deliveries(worker_id, count, task_types)

    async def consume_tasks(
        self, worker_id: str, *, task_types: Collection[str] | None = None
    ) -> AsyncGenerator[tuple[str, Task]]:
        """Yield message ids and tasks, for ever; settle each by ``complete_task`` or ``fail_task``.

        Tasks come one by one, so that the next is always the most urgent of that moment.
        """
        while True:
            for delivery in await self.next_deliveries(worker_id, 1, task_types=task_types):
                yield delivery.lease.message_id, delivery.task

    async def complete_task(self, message_id: str, result: JsonValue = None) -> None:
        """Record a result; when this returns, it is durable.

        Raises:
            StaleLeaseError: somebody else has taken the task over, or it has ended.
            InvalidInputError: the result is not JSON.
            LimitExceededError: the result is too long.
        """
        await self._settle(self.outcomes.completed(Lease.parse(message_id), result))

    async def fail_task(
        self,
        message_id: str,
        error: str | BaseException,
        task: Task,
        *,
        retry_after: float | None = None,
        retryable: bool = True,
    ) -> TaskStatus:
        """Record a failed attempt, and return where the task now stands.

        Args:
            message_id: the delivery.
            error: what went wrong.
            task: the task as it was delivered.
            retry_after: the least wait before the next attempt, in seconds.
            retryable: False when another attempt would fail in the same way.

        Raises:
            StaleLeaseError: somebody else has taken the task over, or it has ended.
        """
        settlement = self.outcomes.failed(
            Lease.parse(message_id), error, task, retry_after=retry_after, retryable=retryable
        )
        await self._settle(settlement)
        return settlement.status

    async def hand_back(
        self, message_id: str, task: Task, *, kind: EventKind = EventKind.HANDED_BACK
    ) -> None:
        """Return a task to the head of its priority; the attempt is not counted.

        Raises:
            StaleLeaseError: somebody else has taken the task over, or it has ended.
        """
        await self._settle(self.outcomes.handed_back(Lease.parse(message_id), task, kind))

    async def end_cancelled(self, message_id: str, task: Task) -> None:
        """Record that a running task was stopped because its cancellation was asked for."""
        await self._settle(self.outcomes.cancelled(Lease.parse(message_id), task))

    async def settle(self, settlements: Sequence[Settlement]) -> list[StaleLeaseError | None]:
        """Record how deliveries ended, as ``outcomes`` says it, in one round trip.

        Returns:
            For each the refusal if somebody else has taken the task over, or it has ended.

        Raises:
            BackendUnavailableError: nothing may have been recorded; the holder may say it again.
        """
        refusals = await self._backend.settle(settlements)
        self.leases.release(settlement.lease for settlement in settlements)
        if self._metrics is not None:
            for settlement, refusal in zip(settlements, refusals, strict=True):
                if refusal is None:
                    self._metrics.settled(settlement)
        return refusals

    async def record_progress(self, message_id: str, progress: TaskProgress) -> None:
        """Keep what a running handler said last; raise StaleLeaseError for a late one."""
        await self._backend.record_progress(Lease.parse(message_id), progress)

    async def cancel_task(self, task_id: str) -> Task:
        """Cancel a task.

        A waiting task is CANCELLED at once. A running one is marked, its worker cancels the
        handler and records CANCELLED at its end, which ``wait_for`` awaits. An ended one stays.

        Raises:
            NotFoundError: there is no such task.
        """
        task = await self.get_task(task_id)
        event = self.outcomes.event(EventKind.CANCEL_REQUESTED, task)
        await self._backend.cancel(
            task_id, event, self.config.expiry(TaskStatus.CANCELLED, event.at)
        )
        now = await self.get_task(task_id)
        if self._metrics is not None:
            self._metrics.cancelled(task, now)
        return now

    async def watch_cancels(
        self, worker_id: str, running: Callable[[], Collection[str]], cancel: Callable[[str], None]
    ) -> None:
        """Call ``cancel`` with the ids of running tasks that are to stop; runs until cancelled."""
        await self._backend.watch_cancels(worker_id, running, cancel)

    async def get_task(self, task_id: str) -> Task:
        """Return a task as it stands.

        Raises:
            NotFoundError: there is no such task, or it was forgotten after its retention.
        """
        task = await self._backend.get(task_id)
        if task is None:
            raise unknown_task(task_id)
        return task

    async def wait_for(self, task_id: str, timeout: float) -> Task:
        """Return a task when it has ended, or as it stands after ``timeout`` seconds.

        Raises:
            NotFoundError: there is no such task.
        """
        with anyio.move_on_after(timeout) as scope:
            while not (task := await self.get_task(task_id)).status.is_final:
                left = max(scope.deadline - anyio.current_time(), 0.0)
                await self._backend.wait_until_final(task_id, left)
            return task
        return await self.get_task(task_id)

    async def list_tasks(self, task_filter: TaskFilter | None = None) -> list[Task]:
        """Return tasks, newest first; the last one's id as ``before`` gives the next page."""
        return await self._backend.list_tasks(task_filter or TaskFilter())

    async def stats(self) -> QueueStats:
        """Return counts by status, depth and oldest age by priority, and the live workers."""
        stats = await self._backend.stats(self._clock.now())
        if self._metrics is not None:
            self._metrics.show(stats)
        return stats

    async def pause(self, what: str | TaskPriority) -> None:
        """Hand out no more tasks of a type or of a priority; running ones go on."""
        await self._backend.set_paused(*pausable(what), paused=True)

    async def resume(self, what: str | TaskPriority) -> None:
        """Hand out tasks of a type or of a priority again."""
        await self._backend.set_paused(*pausable(what), paused=False)

    async def limit_type(
        self, task_type: str, concurrency: int | None = None, *, rate: Rate | None = None
    ) -> None:
        """Bound a type over all workers; this replaces what bounded it before.

        Args:
            task_type: the type.
            concurrency: how many of it may run at once; None for no bound.
            rate: how many of it may start in a span of time; None for no bound.

        Raises:
            InvalidInputError: a bound that cannot be held.
        """
        check_text(task_type, "task type")
        await self._backend.limit_type(task_type, check_limit(TypeLimit(concurrency, rate)))

    async def _settle(self, settlement: Settlement) -> None:
        try:
            await self._settling.submit(settlement)
        except BackendUnavailableError:
            raise  # the holder may say it again
        except BaseException:
            self.leases.release([settlement.lease])
            raise
