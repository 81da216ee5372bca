"""The queue against a model of it: Hypothesis drives both and compares, on every back end."""

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mcp_orchestrator.errors import StaleLeaseError
from mcp_orchestrator.queue import TaskPriority, TaskQueue, TaskStatus
from tests.services.queue_place import BACK_ENDS_AND_CLUSTER, HandClock, Place, open_place

T = TypeVar("T")
LEASE = 30.0
RETRIES = 2


@dataclass
class Expected:
    """What the model knows of a task."""

    task_id: str
    task_type: str
    priority: TaskPriority
    order: tuple[datetime, int]
    status: TaskStatus = TaskStatus.PENDING
    attempt: int = 0
    message_id: str = ""
    lease_until: datetime | None = None
    result: int | None = None
    cancel_requested: bool = False


class QueueMachine(RuleBasedStateMachine):
    """Rules are what callers do; every outcome is predicted by the model."""

    request: pytest.FixtureRequest
    kind: str
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.clock = HandClock()
        self.tasks: dict[str, Expected] = {}
        self.stale: list[str] = []
        self.added = 0
        self.queue: TaskQueue = self.do(self.open())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def open(self) -> TaskQueue:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        place: Place[HandClock] = await self.stack.enter_async_context(
            open_place(self.request, self.kind, folder, self.clock)
        )
        return await place.queue(lease_seconds=LEASE, max_retries=RETRIES)

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.loop.close()

    def one(self, choice: int, *statuses: TaskStatus) -> Expected | None:
        found = [task for task in self.tasks.values() if task.status in statuses]
        return found[choice % len(found)] if found else None

    @rule(
        task_type=st.sampled_from("ab"),
        priority=st.sampled_from(TaskPriority),
        delay=st.sampled_from([0, 0, 0, 5, 50]),
    )
    def add(self, task_type: str, priority: TaskPriority, delay: int) -> None:
        task = self.do(self.queue.add_task(task_type, {}, priority=priority, delay=delay))
        self.added += 1
        self.tasks[task.task_id] = Expected(
            task.task_id, task_type, priority,
            (self.clock.now() + timedelta(seconds=delay), self.added),
            TaskStatus.SCHEDULED if delay else TaskStatus.PENDING,
        )  # fmt: skip

    @rule(count=st.integers(1, 4), types=st.sampled_from([None, "a", "b", "ab"]))
    def take(self, count: int, types: str | None) -> None:
        self.bring_back()
        ready = [
            task
            for task in self.tasks.values()
            if task.status is TaskStatus.PENDING and (types is None or task.task_type in types)
        ]
        ready.sort(key=lambda task: -task.priority)
        deliveries = self.do(self.queue.take("w", count, task_types=types))
        # by priority always; the order within one is compared by the contract's own tests
        taken = [self.tasks[delivery.task.task_id] for delivery in deliveries]
        assert all(task in ready for task in taken)
        assert [task.priority for task in taken] == [task.priority for task in ready[:count]]
        for task, delivery in zip(taken, deliveries, strict=True):
            task.status, task.attempt = TaskStatus.PROCESSING, task.attempt + 1
            assert delivery.task.attempt == task.attempt
            task.message_id = delivery.lease.message_id
            task.lease_until = self.clock.now() + timedelta(seconds=LEASE)

    def bring_back(self) -> None:
        """What the next ``take`` does first."""
        now = self.clock.now()
        for task in self.tasks.values():
            if task.status is TaskStatus.SCHEDULED and task.order[0] <= now:
                task.status = TaskStatus.PENDING
            if task.status is TaskStatus.PROCESSING and (task.lease_until or now) <= now:
                self.stale.append(task.message_id)
                if task.cancel_requested:
                    task.status = TaskStatus.CANCELLED
                elif task.attempt <= RETRIES:
                    task.status = TaskStatus.PENDING
                else:
                    task.status = TaskStatus.DEAD_LETTER

    @rule(choice=st.integers(0, 99), result=st.integers())
    def complete(self, choice: int, result: int) -> None:
        if task := self.one(choice, TaskStatus.PROCESSING):
            self.do(self.queue.complete_task(task.message_id, result))
            task.status, task.result = TaskStatus.COMPLETED, result
            self.stale.append(task.message_id)

    @rule(choice=st.integers(0, 99), retryable=st.booleans())
    def fail(self, choice: int, retryable: bool) -> None:
        if task := self.one(choice, TaskStatus.PROCESSING):
            held = self.do(self.queue.get_task(task.task_id))
            self.do(self.queue.fail_task(task.message_id, "no", held, retryable=retryable))
            after = self.do(self.queue.get_task(task.task_id))
            if not retryable:
                task.status = TaskStatus.FAILED
            elif task.attempt > RETRIES:
                task.status = TaskStatus.DEAD_LETTER
            elif task.cancel_requested:
                task.status = TaskStatus.CANCELLED
            else:
                task.status = TaskStatus.SCHEDULED
                wait = (after.available_at - self.clock.now()).total_seconds()
                assert 0 <= wait <= 2**task.attempt
                task.order = (after.available_at, task.order[1])

    @rule(choice=st.integers(0, 99))
    def hand_back(self, choice: int) -> None:
        if task := self.one(choice, TaskStatus.PROCESSING):
            held = self.do(self.queue.get_task(task.task_id))
            self.do(self.queue.hand_back(task.message_id, held))
            task.attempt -= 1
            task.status = TaskStatus.CANCELLED if task.cancel_requested else TaskStatus.PENDING

    @rule(choice=st.integers(0, 99))
    def cancel(self, choice: int) -> None:
        if task := self.one(choice, *TaskStatus):
            self.do(self.queue.cancel_task(task.task_id))
            if task.status is TaskStatus.PROCESSING:
                task.cancel_requested = True
            elif not task.status.is_final:
                task.status = TaskStatus.CANCELLED

    @precondition(lambda self: self.stale)
    @rule(choice=st.integers(0, 99))
    def settle_late(self, choice: int) -> None:
        message_id = self.stale[choice % len(self.stale)]
        task = self.tasks[message_id.rpartition(":")[0]]
        if task.message_id == message_id and task.status is TaskStatus.COMPLETED:
            self.do(self.queue.complete_task(message_id, -1))  # said again: accepted, not kept
            return
        with pytest.raises(StaleLeaseError):
            self.do(self.queue.complete_task(message_id, -1))

    @rule(choice=st.integers(0, 99))
    def requeue(self, choice: int) -> None:
        if task := self.one(choice, TaskStatus.DEAD_LETTER, TaskStatus.FAILED):
            self.do(self.queue.dead_letters.retry(task.task_id))
            task.status, task.attempt = TaskStatus.PENDING, 0
            task.cancel_requested = False

    @rule(seconds=st.sampled_from([1, 6, 31, 60]))
    def pass_time(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.take(1, "a")

    @invariant()
    def nothing_is_lost(self) -> None:
        counts = dict.fromkeys(TaskStatus, 0)
        for task in self.tasks.values():
            counts[task.status] += 1
        assert self.do(self.queue.stats()).by_status == counts
        for task in list(self.tasks.values())[-3:]:
            seen = self.do(self.queue.get_task(task.task_id))
            assert (seen.status, seen.attempt, seen.result) == (
                task.status, task.attempt, task.result,
            )  # fmt: skip


@pytest.mark.parametrize("kind", BACK_ENDS_AND_CLUSTER)
def test_the_queue_behaves_as_its_model(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    servers = {"postgresql": "postgres_server", "redis": "redis_server"}
    if kind != "sqlite":
        request.getfixturevalue(servers.get(kind, "redis_cluster"))
    QueueMachine.request, QueueMachine.kind, QueueMachine.folder = request, kind, tmp_path
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
