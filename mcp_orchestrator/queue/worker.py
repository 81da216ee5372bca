"""The worker: takes tasks while it has room, runs their handlers, records how each ended."""

import asyncio
import logging
import os
import socket
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup
from pydantic import JsonValue

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.errors import (
    BackendUnavailableError,
    InvalidInputError,
    LimitExceededError,
    StaleLeaseError,
)
from mcp_orchestrator.queue import failure
from mcp_orchestrator.queue.handler import TaskContext, TaskHandler
from mcp_orchestrator.queue.lease import Delivery
from mcp_orchestrator.queue.port import WorkerInfo
from mcp_orchestrator.queue.task import EventKind, TaskPriority
from mcp_orchestrator.queue.task_queue import TaskQueue

_log = logging.getLogger(__name__)
#: Wait between attempts to reach a back end that is away, in seconds.
_AWAY_PAUSE = 0.5
#: How often a full worker looks for CRITICAL tasks that could take a preemptible one's place.
_PREEMPTION_LOOK = 0.1


@dataclass(eq=False, slots=True)
class _Run:
    """One delivery in work."""

    delivery: Delivery
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    lost: bool = False
    preempted: bool = False
    cancelled: bool = False

    @property
    def can_be_preempted(self) -> bool:
        task = self.delivery.task
        return task.preemptible and task.priority < TaskPriority.CRITICAL and not self.preempted

    def stop_for_cancel(self) -> None:
        self.cancelled = True
        self.scope.cancel()

    def preempt(self) -> None:
        self.preempted = True
        self.scope.cancel()

    def stop_for_loss(self) -> None:
        self.lost = True
        self.scope.cancel()


def _worth(run: _Run) -> tuple[int, float]:
    """Order runs by what their loss costs: the least urgent first, then the youngest."""
    started = run.delivery.task.started_at
    return run.delivery.task.priority, -(started.timestamp() if started else 0.0)


class Worker:
    """Runs handlers, at most ``concurrency`` at a time.

    Args:
        queue: a connected queue.
        handlers: the handler of each task type; tasks of other types are left to other workers.
        concurrency: how many tasks run at once.
        worker_id: a name for the registry of workers; made from host and process where None.
        grace_seconds: how long running tasks may go on after ``run`` was cancelled or ``stop``
            was called; those that have not ended by then are handed back.
        clock: the source of time.
    """

    def __init__(
        self,
        queue: TaskQueue,
        handlers: Mapping[str, TaskHandler],
        *,
        concurrency: int = 10,
        worker_id: str | None = None,
        grace_seconds: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self.worker_id = worker_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._queue = queue
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._grace_seconds = grace_seconds
        self._clock: Clock = clock or SystemClock()
        self._started_at = self._clock.now()
        self._runs: dict[str, _Run] = {}
        self._handling = 0
        self._ready: deque[_Run] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._slots = 0
        self._run_ended = anyio.Event()
        self._watched = False
        self._taking = anyio.CancelScope()
        self._grace = anyio.CancelScope()
        self._stopping = False
        self._finished = anyio.Event()

    async def run(self) -> None:
        """Work until cancelled or stopped; then finish what runs, or hand it back.

        A cancelled ``run`` ends within the grace period, plus the time handlers take to clean up.
        """
        async with anyio.create_task_group() as outer:
            outer.start_soon(self._work)
            outer.start_soon(self._stop_when_cancelled)

    def stop(self) -> None:
        """Take no more tasks; ``run`` returns when those that run have ended or were handed back.

        Calling it again ends the grace period at once.
        """
        if self._stopping:
            self._grace.cancel()
        self._stopping = True
        self._taking.cancel()

    def describe(self) -> WorkerInfo:
        """Return what the registry of workers shows of this one."""
        return WorkerInfo(
            self.worker_id,
            socket.gethostname(),
            os.getpid(),
            self._concurrency,
            tuple(sorted(self._handlers)),
            tuple(self._runs),
            self._started_at,
            self._clock.now(),
        )

    async def _stop_when_cancelled(self) -> None:
        """Turn a cancellation of ``run`` into a stop, which spares the handlers for a while."""
        try:
            await self._finished.wait()
        except anyio.get_cancelled_exc_class():
            if not self._stopping:
                self.stop()
            raise

    async def _work(self) -> None:
        with anyio.CancelScope(shield=True):
            self._queue.leases.register(self.worker_id, self.describe)
            self._queue.leases.start()
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch_cancels)
                    with self._taking:
                        await self._take_and_start(group)
                    await self._await_runs()
                    group.cancel_scope.cancel()
                for run in self._ready:  # no slot has come to these any more
                    await self._hand_back(run)
            finally:
                self._queue.leases.unregister(self.worker_id)
                self._finished.set()

    async def _await_runs(self) -> None:
        with anyio.move_on_after(self._grace_seconds) as bound:
            with self._grace:
                while self._runs:
                    await self._next_end()
            bound.cancel()

    async def _watch_cancels(self) -> None:
        await self._queue.watch_cancels(self.worker_id, self._runs.keys, self._cancel)

    def _cancel(self, task_id: str) -> None:
        if run := self._runs.get(task_id):
            run.stop_for_cancel()

    async def _take_and_start(self, group: TaskGroup) -> None:
        while True:
            room = self._room()
            try:
                if room <= 0:
                    await self._make_room(group)
                    continue
                deliveries = await self._queue.next_deliveries(
                    self.worker_id, room, task_types=self._handlers.keys()
                )
            except BackendUnavailableError:
                _log.warning("The queue is away; trying again.", exc_info=True)
                await self._clock.sleep(_AWAY_PAUSE)
                continue
            for delivery in deliveries:
                self._start(delivery, group)

    async def _make_room(self, group: TaskGroup) -> None:
        """Wait for a run to end; for a CRITICAL task, end a preemptible one."""
        if not any(run.can_be_preempted for run in self._runs.values()):
            await self._next_end()
            return
        with anyio.move_on_after(_PREEMPTION_LOOK):
            await self._next_end()
            return
        urgent = await self._queue.take(
            self.worker_id,
            1,
            task_types=self._handlers.keys(),
            least_priority=TaskPriority.CRITICAL,
        )
        for delivery in urgent:
            candidates = [run for run in self._runs.values() if run.can_be_preempted]
            try:
                if candidates:
                    await self._preempt(min(candidates, key=_worth))
            finally:  # it is leased: when we are stopped meanwhile, its run hands it back
                self._start(delivery, group)

    async def _preempt(self, run: _Run) -> None:
        run.preempt()
        while self._runs.get(run.delivery.task.task_id) is run:
            await self._next_end()

    def _room(self) -> int:
        """Return how many may be taken: those whose outcomes are being recorded leave room."""
        busy = self._handling + len(self._ready)
        return min(self._concurrency - busy, 2 * self._concurrency - len(self._runs))

    async def _next_end(self) -> None:
        """Wait until a handler or a run ends."""
        self._watched = True
        await self._run_ended.wait()

    def _announce_end(self) -> None:
        if self._watched:
            self._watched = False
            self._run_ended.set()
            self._run_ended = anyio.Event()

    def _start(self, delivery: Delivery, group: TaskGroup) -> None:
        run = _Run(delivery)
        self._runs[delivery.task.task_id] = run
        self._queue.leases.hold(
            delivery.lease, on_lost=run.stop_for_loss, on_cancel=run.stop_for_cancel
        )
        self._ready.append(run)
        if self._idle:
            self._idle.popleft().set_result(None)
        elif self._slots < len(self._runs):
            self._slots += 1
            group.start_soon(self._fill_slot)

    async def _fill_slot(self) -> None:
        """See runs through, one after the other; a slot costs less than a task for each run."""
        while True:
            while self._ready:
                await self._see_through(self._ready.popleft())
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            try:
                await idle
            except anyio.get_cancelled_exc_class():
                if idle in self._idle:
                    self._idle.remove(idle)
                raise

    async def _see_through(self, run: _Run) -> None:
        """Run one delivery to its end, and record the end whatever it is."""
        try:
            await self._run_handler(run)
        except anyio.get_cancelled_exc_class():  # the grace period is over
            with anyio.CancelScope(shield=True):
                await self._hand_back(run)
            raise
        finally:
            self._queue.leases.release(run.delivery.lease)
            if self._runs.get(run.delivery.task.task_id) is run:
                del self._runs[run.delivery.task.task_id]
            self._announce_end()

    async def _run_handler(self, run: _Run) -> None:
        task, message_id = run.delivery.task, run.delivery.lease.message_id
        context = TaskContext(
            task.task_id,
            task.attempt,
            task.task_id,
            task.owner,
            lambda progress: self._queue.record_progress(message_id, progress),
        )
        result: JsonValue = None
        error: Exception | None = None
        self._handling += 1
        try:
            with run.scope as scope:
                if task.timeout is not None:
                    scope.deadline = anyio.current_time() + task.timeout
                try:
                    result = await self._handlers[task.task_type](task.payload, context)
                except Exception as raised:  # whatever a handler raises is the task's failure
                    error = raised
        finally:
            self._handling -= 1
            self._announce_end()
        if run.lost:
            _log.warning("Task %s was taken over; its outcome here is dropped.", task.task_id)
        elif not scope.cancelled_caught:
            await (self._complete(run, result) if error is None else self._fail(run, error))
        elif run.preempted:
            await self._record(
                run, lambda: self._queue.hand_back(message_id, task, kind=EventKind.PREEMPTED)
            )
        elif run.cancelled:
            await self._record(run, lambda: self._queue.end_cancelled(message_id, task))
        else:
            await self._fail(run, TimeoutError(f"no result within {task.timeout:g} seconds"))

    async def _complete(self, run: _Run, result: JsonValue) -> None:
        message_id = run.delivery.lease.message_id
        try:
            await self._record(run, lambda: self._queue.complete_task(message_id, result))
        except (InvalidInputError, LimitExceededError) as unusable:
            await self._fail(run, unusable)

    async def _fail(self, run: _Run, error: Exception) -> None:
        task, message_id = run.delivery.task, run.delivery.lease.message_id
        await self._record(
            run,
            lambda: self._queue.fail_task(
                message_id,
                error,
                task,
                retry_after=failure.retry_after(error),
                retryable=not failure.is_permanent(error),
            ),
        )

    async def _record(self, run: _Run, settle: Callable[[], Awaitable[object]]) -> None:
        """Record an end; while the back end is away, keep trying as long as the lease may hold."""
        while not run.lost:
            try:
                await settle()
            except StaleLeaseError as late:
                _log.warning("%s", late)
            except BackendUnavailableError:
                _log.warning("An outcome could not be recorded; trying again.", exc_info=True)
                await self._clock.sleep(_AWAY_PAUSE)
                continue
            return

    async def _hand_back(self, run: _Run) -> None:
        task, message_id = run.delivery.task, run.delivery.lease.message_id
        try:
            await self._queue.hand_back(message_id, task)
        except (StaleLeaseError, BackendUnavailableError):
            _log.info("Task %s was not handed back; its lease will end.", task.task_id)
