"""What bounds a type over all workers, on every back end: how many run, how many start."""

import random
from datetime import datetime, timedelta

import anyio
import pytest
from prometheus_client import CollectorRegistry
from pydantic import JsonValue

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue import (
    LimitStats,
    NewTask,
    QueueMetrics,
    Rate,
    Task,
    TaskContext,
    TaskPriority,
    TaskQueue,
    TypeLimit,
    Worker,
)
from tests.services.queue_place import HandClock, Place

Payload = dict[str, JsonValue]


async def test_a_type_runs_no_more_than_its_limit_over_all_workers(
    place: Place[HandClock],
) -> None:
    queue, other = await place.queue(), await place.queue()
    await queue.limit_type("a", 2)
    await queue.add_tasks([NewTask("a", {}, TaskPriority.HIGH) for _ in range(6)])
    await queue.add_tasks([NewTask("b", {}) for _ in range(2)])
    first = await queue.take("w", 4)
    assert [d.task.task_type for d in first] == ["a", "a", "b", "b"]
    assert await other.take("v", 9) == []
    await queue.complete_task(first[0].lease.message_id)
    second = await other.take("v", 9)
    assert [d.task.task_type for d in second] == ["a"]
    await other.hand_back(second[0].lease.message_id, second[0].task)
    again = await other.take("v", 1)
    assert again[0].task.task_id == second[0].task.task_id
    place.clock.advance(31)  # what dead workers held runs no more
    assert len(await other.take("v", 9)) == 2 + 2
    await queue.limit_type("a", None)
    assert len(await queue.take("w", 9)) == 3


async def test_a_type_starts_no_more_often_than_its_rate(place: Place[HandClock]) -> None:
    queue, other = await place.queue(), await place.queue()
    await queue.limit_type("a", rate=Rate(3, 10))
    await queue.add_tasks([NewTask("a", {}, TaskPriority.HIGH) for _ in range(9)])
    await queue.add_tasks([NewTask("b", {}) for _ in range(3)])
    assert [d.task.task_type for d in await queue.take("w", 2)] == ["a", "a"]
    place.clock.advance(4)
    assert [d.task.task_type for d in await other.take("v", 3)] == ["a", "b", "b"]
    assert [d.task.task_type for d in await queue.take("w", 9)] == ["b"]
    place.clock.advance(5.9)
    assert await other.take("v", 9) == []
    place.clock.advance(0.1)  # the first two are ten seconds old now, the third is six
    second = await other.take("v", 9)
    assert len(second) == 2
    await other.fail_task(second[0].lease.message_id, "no", second[0].task, retry_after=1)
    place.clock.advance(1)
    assert await queue.take("w", 9) == []  # another attempt is another start
    await queue.limit_type("a")
    assert len(await queue.take("w", 9)) == 9 - 5 + 1


async def test_no_span_of_time_sees_more_starts_than_the_rate(place: Place[HandClock]) -> None:
    chance, rate = random.Random(5), Rate(4, 7)
    queues = [await place.queue() for _ in range(3)]
    await queues[0].limit_type("t", rate=rate)
    await queues[0].add_tasks([NewTask("t", {}) for _ in range(60)])
    starts: list[datetime] = []
    for _ in range(40):
        place.clock.advance(chance.choice([0, 0.5, 1, 3]))
        taken = await chance.choice(queues).take("w", chance.randrange(1, 6))
        starts += [place.clock.now()] * len(taken)
        for delivery in taken:
            await queues[0].complete_task(delivery.lease.message_id)
    span = timedelta(seconds=rate.seconds)
    assert all(later - first >= span for first, later in zip(starts, starts[4:], strict=False))
    assert len(starts) > 20


async def test_both_bounds_hold_together(place: Place[HandClock]) -> None:
    queue = await place.queue()
    await queue.limit_type("t", 2, rate=Rate(3, 10))
    await queue.add_tasks([NewTask("t", {}) for _ in range(9)])
    first = await queue.take("w", 9)
    assert len(first) == 2
    for delivery in first:
        await queue.complete_task(delivery.lease.message_id)
    assert len(await queue.take("w", 9)) == 1
    limit = TypeLimit(2, Rate(3, 10))
    assert (await queue.stats()).limits == (LimitStats("t", limit, running=1, started=3),)
    place.clock.advance(10)
    assert (await queue.stats()).limits == (LimitStats("t", limit, running=1, started=0),)
    await queue.limit_type("t", 2)
    assert (await queue.stats()).limits == (LimitStats("t", TypeLimit(2), running=1, started=0),)


async def test_prometheus_sees_the_limits(place: Place[HandClock]) -> None:
    registry = CollectorRegistry()
    queue = TaskQueue(
        place.config(), database=place.database, clock=place.clock, metrics=QueueMetrics(registry)
    )
    await queue.connect()
    place.opened.append(queue)
    await queue.limit_type("t", 5, rate=Rate(7, 60))
    await queue.add_tasks([NewTask("t", {}) for _ in range(3)])
    await queue.take("w", 2)

    async def shown() -> dict[str, float | None]:
        await queue.stats()
        names = ("concurrency", "running", "starts", "started")
        of_type = {"task_type": "t"}
        return {one: registry.get_sample_value(f"queue_limit_{one}", of_type) for one in names}

    assert await shown() == {"concurrency": 5, "running": 2, "starts": 7, "started": 2}
    await queue.limit_type("t")
    assert set((await shown()).values()) == {None}


@pytest.mark.parametrize(
    "limit",
    [
        TypeLimit(0), TypeLimit(rate=Rate(0, 1)), TypeLimit(rate=Rate(1, 0)),
        TypeLimit(rate=Rate(1, float("nan"))), TypeLimit(rate=Rate(1_000_000, 1)),
    ],
)  # fmt: skip
async def test_a_bound_that_cannot_be_held_is_refused(
    place: Place[HandClock], limit: TypeLimit
) -> None:
    queue = await place.queue()
    with pytest.raises(InvalidInputError):
        await queue.limit_type("t", limit.concurrency, rate=limit.rate)
    assert (await queue.stats()).limits == ()


async def test_an_idle_worker_goes_on_when_the_rate_allows(
    live_place: Place[SystemClock],
) -> None:
    span = 0.3

    async def handler(payload: Payload, context: TaskContext) -> JsonValue:
        return None

    done: list[Task] = []
    queue = await live_place.queue()
    await queue.limit_type("t", rate=Rate(2, span))
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(Worker(await live_place.queue(), {"t": handler}).run)
        added = await queue.add_tasks([NewTask("t", {}) for _ in range(6)])
        done = [await queue.wait_for(task.task_id, 30) for task in added]
        group.cancel_scope.cancel()
    starts = sorted(task.started_at for task in done if task.started_at is not None)
    assert len(starts) == 6
    apart = [later - first for first, later in zip(starts, starts[2:], strict=False)]
    assert min(apart) >= timedelta(seconds=span)
