"""What every back end promises when many deliveries end together, and what a worker's slots do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import StaleLeaseError
from mcp_orchestrator.queue import (
    EventKind,
    NewTask,
    TaskContext,
    TaskQueue,
    TaskStatus,
    Worker,
)
from tests.services.queue_place import (  # noqa: F401
    BACK_ENDS_AND_CLUSTER,
    Place,
    open_place,
    redis_cluster,  # pyright: ignore[reportUnusedImport] - a fixture
)

Payload = dict[str, JsonValue]


@pytest.fixture(params=BACK_ENDS_AND_CLUSTER)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Place[SystemClock]]:
    async with open_place(request, str(request.param), tmp_path, SystemClock()) as opened:
        yield opened


@pytest.fixture
async def queue(place: Place[SystemClock]) -> TaskQueue:
    return await place.queue()


async def test_ends_of_all_kinds_are_recorded_in_one_call(queue: TaskQueue) -> None:
    await queue.add_tasks([NewTask("t", {"n": n}) for n in range(5)])
    taken = await queue.take("w", 5)
    outcomes = queue.outcomes
    late = taken[4].lease._replace(epoch=taken[4].lease.epoch + 1)
    refusals = await queue.settle(
        [
            outcomes.completed(taken[0].lease, {"n": 0}),
            outcomes.failed(taken[1].lease, "no", taken[1].task, retryable=False),
            outcomes.completed(taken[2].lease, None),
            outcomes.handed_back(taken[3].lease, taken[3].task, EventKind.HANDED_BACK),
            outcomes.completed(late, "late"),
        ]
    )
    assert refusals[:4] == [None] * 4
    assert isinstance(refusals[4], StaleLeaseError)
    ends = [await queue.get_task(one.task.task_id) for one in taken]
    assert [(one.status, one.result, one.error) for one in ends] == [
        (TaskStatus.COMPLETED, {"n": 0}, None),
        (TaskStatus.FAILED, None, "no"),
        (TaskStatus.COMPLETED, None, None),
        (TaskStatus.PENDING, None, None),
        (TaskStatus.PROCESSING, None, None),
    ]


async def test_an_end_that_is_said_twice_counts_once(queue: TaskQueue) -> None:
    await queue.add_task("t", {})
    (taken,) = await queue.take("w", 1)
    end = queue.outcomes.completed(taken.lease, 1)
    assert await queue.settle([end, end]) == [None, None]
    assert await queue.settle([end]) == [None]
    assert (await queue.stats()).by_status[TaskStatus.COMPLETED] == 1


async def test_a_batch_of_mixed_tasks_keeps_its_order(queue: TaskQueue) -> None:
    news = [
        NewTask("t", {"n": 0}),
        NewTask("u", {"n": 1}, idempotency_key="k"),
        NewTask("t", {"n": 2}, delay=3600),
        NewTask("u", {"n": 3}, idempotency_key="k"),
        NewTask("t", {"n": 4}),
    ]
    added = await queue.add_tasks(news)
    assert added[3].task_id == added[1].task_id
    taken = await queue.take("w", 9)
    assert [one.task.payload["n"] for one in taken] == [0, 1, 4]
    assert (await queue.get_task(added[2].task_id)).status is TaskStatus.SCHEDULED


async def test_a_slot_outlives_what_was_stopped_in_it(queue: TaskQueue) -> None:
    started = anyio.Event()

    async def wait(payload: Payload, context: TaskContext) -> JsonValue:
        started.set()
        await anyio.sleep_forever()

    async def cancels_itself(payload: Payload, context: TaskContext) -> JsonValue:
        raise asyncio.CancelledError

    async def pause(payload: Payload, context: TaskContext) -> JsonValue:
        await anyio.lowlevel.checkpoint()
        return "done"

    handlers = {"wait": wait, "cancels_itself": cancels_itself, "pause": pause}
    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, handlers, concurrency=1).run)
        timed_out = await queue.add_task("wait", {}, timeout=0.05, max_retries=0)
        assert (await queue.wait_for(timed_out.task_id, 10)).status is TaskStatus.DEAD_LETTER
        started = anyio.Event()
        cancelled = await queue.add_task("wait", {})
        await started.wait()
        await queue.cancel_task(cancelled.task_id)
        odd = await queue.add_task("cancels_itself", {}, max_retries=0)
        last = await queue.add_task("pause", {}, timeout=60)
        assert (await queue.wait_for(last.task_id, 10)).result == "done"
        assert (await queue.get_task(cancelled.task_id)).status is TaskStatus.CANCELLED
        assert (await queue.get_task(odd.task_id)).status is TaskStatus.DEAD_LETTER
        group.cancel_scope.cancel()
