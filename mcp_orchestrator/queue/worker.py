"""The worker: takes tasks while it has room, runs their handlers, records how each ended."""

import asyncio
import logging
import math
import os
import socket
import uuid
from collections import deque
from collections.abc import Mapping
from functools import partial

import anyio
from anyio.abc import TaskGroup
from pydantic import JsonValue

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.errors import (
    BackendUnavailableError,
    InvalidInputError,
    LimitExceededError,
)
from mcp_orchestrator.queue import failure
from mcp_orchestrator.queue.handler import TaskContext, TaskHandler
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.port import AWAY_PAUSE, WorkerInfo
from mcp_orchestrator.queue.recorder import Recorder
from mcp_orchestrator.queue.run import Run
from mcp_orchestrator.queue.task import EventKind, TaskPriority, TaskProgress
from mcp_orchestrator.queue.task_queue import TaskQueue
from mcp_orchestrator.queue.tracing import TaskTraces
from mcp_orchestrator.telemetry.tracing import Tracing

_log = logging.getLogger(__name__)
#: The longest that handlers which wait for nothing keep the event loop, in seconds.
_LONGEST_TURN = 0.005
#: How often a full worker looks for CRITICAL tasks that could take a preemptible one's place.
_PREEMPTION_LOOK = 0.1


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
        tracing: records attempts; nothing does if left out.
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
        tracing: Tracing | None = None,
    ) -> None:
        self.worker_id = worker_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._queue = queue
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._grace_seconds = grace_seconds
        self._clock: Clock = clock or SystemClock()
        self._traces = TaskTraces(tracing or Tracing())
        self._started_at = self._clock.now()
        self._runs: dict[Lease, Run] = {}
        self._handling = 0
        self._ready: deque[Run] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._slots = 0
        self._waking = False
        self._turn_began = 0.0
        self._recorder = Recorder(queue, self._clock, self._forget)
        self._changed = anyio.Event()
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

    def add_handlers(self, handlers: Mapping[str, TaskHandler]) -> None:
        """Take tasks of these types too, from the next look at the queue on."""
        self._handlers.update(handlers)

    def describe(self) -> WorkerInfo:
        """Return what the registry of workers shows of this one."""
        return WorkerInfo(
            self.worker_id,
            socket.gethostname(),
            os.getpid(),
            self._concurrency,
            tuple(sorted(self._handlers)),
            tuple(self._running_ids()),
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
            self._queue.leases.register(
                self.worker_id, self.describe, on_lost=self._lose, on_cancel=self._cancel_lease
            )
            self._queue.leases.start()
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch_cancels)
                    group.start_soon(self._recorder.work)
                    await self._run_slots()
                    group.cancel_scope.cancel()
            finally:
                self._queue.leases.unregister(self.worker_id)
                self._finished.set()

    async def _run_slots(self) -> None:
        """Take and run tasks until stopped; then give those that run the grace period."""
        try:
            async with anyio.create_task_group() as slots:
                with self._taking:
                    await self._take_and_start(slots)
                with anyio.move_on_after(self._grace_seconds), self._grace:
                    await self._await_runs()
                slots.cancel_scope.cancel()
        finally:
            while self._ready:  # no slot has come to these any more
                self._hand_back(self._ready.popleft())
            self._recorder.finish()
            await self._await_runs()

    async def _await_runs(self) -> None:
        while self._runs:
            await self._next_change()

    async def _watch_cancels(self) -> None:
        while True:
            try:
                await self._queue.watch_cancels(self.worker_id, self._running_ids, self._cancel)
            except BackendUnavailableError:
                await self._clock.sleep(AWAY_PAUSE)

    def _running_ids(self) -> set[str]:
        return {lease.task_id for lease in self._runs}

    def _cancel(self, task_id: str) -> None:
        for lease, run in self._runs.items():
            if lease.task_id == task_id:
                run.stop_for_cancel()

    def _cancel_lease(self, lease: Lease) -> None:
        if run := self._runs.get(lease):
            run.stop_for_cancel()

    def _lose(self, lease: Lease) -> None:
        if run := self._runs.get(lease):
            _log.warning("Task %s was taken over; its outcome here is dropped.", lease.task_id)
            run.stop_for_loss()

    def _forget(self, run: Run) -> None:
        """Let go of a run whose end has been recorded."""
        self._queue.leases.release([run.delivery.lease])
        del self._runs[run.delivery.lease]
        self._announce_change()

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
                await self._clock.sleep(AWAY_PAUSE)
                continue
            for delivery in deliveries:
                self._start(delivery, group)

    async def _make_room(self, group: TaskGroup) -> None:
        """Wait for a change that may make room; for a CRITICAL task, end a preemptible one."""
        if not any(run.can_be_preempted for run in self._runs.values()):
            await self._next_change()
            return
        with anyio.move_on_after(_PREEMPTION_LOOK):
            await self._next_change()
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
                    await self._preempt(min(candidates, key=lambda run: run.worth))
            finally:  # it is leased: when we are stopped meanwhile, its run hands it back
                self._start(delivery, group)

    async def _preempt(self, run: Run) -> None:
        run.preempt()
        while run.delivery.lease in self._runs:
            await self._next_change()

    def _room(self) -> int:
        """Return how many may be taken: those whose outcomes are being recorded leave room.

        None while some have yet to begin, which they do at once: many small calls cost more.
        """
        if self._ready:
            return 0
        return min(self._concurrency - self._handling, 2 * self._concurrency - len(self._runs))

    async def _next_change(self) -> None:
        """Wait until a handler or a run ends, or the last of those taken begins."""
        self._watched = True
        await self._changed.wait()

    def _announce_change(self) -> None:
        if self._watched:
            self._watched = False
            self._changed.set()
            self._changed = anyio.Event()

    def _start(self, delivery: Delivery, group: TaskGroup) -> None:
        run = Run(delivery)
        self._runs[delivery.lease] = run
        self._ready.append(run)
        self._wake_slot(group)

    def _wake_slot(self, group: TaskGroup) -> None:
        """See to it that a slot comes for what is ready; that one wakes the next."""
        if self._waking:
            return
        if self._idle:
            self._waking = True
            self._idle.popleft().set_result(None)
        elif self._slots < self._concurrency:
            self._waking = True
            self._slots += 1
            group.start_soon(self._fill_slot, group)

    async def _fill_slot(self, group: TaskGroup) -> None:
        """See runs through, one after the other.

        A slot costs less than a task for each run, and one scope for many runs less than one for
        each: a new one is opened only after the last was cancelled.
        """
        self._waking = False
        while True:
            with anyio.CancelScope() as scope:
                while not scope.cancel_called:
                    if not self._ready:
                        await self._idle_until_woken()
                        continue
                    run = self._ready.popleft()
                    if self._ready:
                        self._wake_slot(group)
                    else:
                        self._announce_change()  # there may be room for more now
                    await self._see_through(run, scope, group)

    async def _idle_until_woken(self) -> None:
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        try:
            await idle
        finally:
            self._waking = False
            if idle in self._idle:
                self._idle.remove(idle)
        self._turn_began = self._clock.monotonic()

    async def _see_through(self, run: Run, scope: anyio.CancelScope, group: TaskGroup) -> None:
        """Run one delivery to its end, and hand that over to be recorded whatever it is."""
        if run.is_to_stop:
            self._end_stopped(run)
            return
        lease, task = run.delivery
        context = TaskContext(
            task.task_id, task.attempt, task.task_id, task.owner, partial(self._report, lease)
        )
        if task.timeout is not None:
            scope.deadline = anyio.current_time() + task.timeout
        run.scope = scope
        self._handling += 1
        try:
            with self._traces.attempt(task):
                result = await self._handlers[task.task_type](task.payload, context)
        except anyio.get_cancelled_exc_class() as cancelled:
            run.scope = None
            if group.cancel_scope.cancel_called:  # the grace period is over
                self._hand_back(run)
            elif scope.cancel_called:
                self._end_stopped(run)
            else:  # nobody here asked for it: the handler cancelled itself
                self._fail(run, cancelled)
                return
            raise
        except Exception as raised:  # whatever a handler raises is the task's failure
            self._fail(run, raised)
        else:
            self._complete(run, result)
        finally:
            run.scope = None
            if task.timeout is not None:
                scope.deadline = math.inf
            self._handling -= 1
            self._announce_change()
        await self._take_turns()

    async def _take_turns(self) -> None:
        """Let others run after handlers that never waited for anything."""
        now = self._clock.monotonic()
        if now - self._turn_began > _LONGEST_TURN:
            await anyio.lowlevel.checkpoint()
            self._turn_began = self._clock.monotonic()

    async def _report(self, lease: Lease, progress: TaskProgress) -> None:
        await self._queue.record_progress(lease.message_id, progress)

    def _complete(self, run: Run, result: JsonValue) -> None:
        try:
            settlement = self._queue.outcomes.completed(run.delivery.lease, result)
        except (InvalidInputError, LimitExceededError) as unusable:
            self._fail(run, unusable)
        else:
            self._recorder.put(run, settlement)

    def _fail(self, run: Run, error: BaseException) -> None:
        lease, task = run.delivery
        settlement = self._queue.outcomes.failed(
            lease,
            error,
            task,
            retry_after=failure.retry_after(error),
            retryable=not failure.is_permanent(error),
        )
        self._recorder.put(run, settlement)

    def _end_stopped(self, run: Run) -> None:
        """Record the end of a run that was stopped, by why it was."""
        lease, task = run.delivery
        outcomes = self._queue.outcomes
        if run.lost:
            self._recorder.put(run, None)
        elif run.preempted:
            self._recorder.put(run, outcomes.handed_back(lease, task, EventKind.PREEMPTED))
        elif run.cancelled:
            self._recorder.put(run, outcomes.cancelled(lease, task))
        else:
            self._fail(run, TimeoutError(f"no result within {task.timeout:g} seconds"))

    def _hand_back(self, run: Run) -> None:
        lease, task = run.delivery
        settlement = self._queue.outcomes.handed_back(lease, task, EventKind.HANDED_BACK)
        self._recorder.put(run, settlement)
