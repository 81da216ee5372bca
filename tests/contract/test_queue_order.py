"""In which order every back end of the queue hands tasks out, and to whom."""

import itertools
from datetime import timedelta, timezone

import anyio

from mcp_orchestrator.queue import NewTask, TaskPriority, TaskQueue, TaskQueueConfig, TaskStatus
from tests.services.queue_place import HandClock, Place, take_one


async def test_urgent_first_and_oldest_first_within_a_priority(queue: TaskQueue) -> None:
    order = [TaskPriority.LOW, TaskPriority.NORMAL, TaskPriority.CRITICAL, TaskPriority.HIGH] * 3
    added = await queue.add_tasks([NewTask("t", {}, priority) for priority in order])
    expected = [t.task_id for t in sorted(added, key=lambda t: -t.priority)]
    one_by_one = [(await take_one(queue))[1].task_id for _ in range(5)]
    rest = [delivery.task.task_id for delivery in await queue.take("w", 100)]
    assert one_by_one + rest == expected


async def test_low_priority_gets_its_share(place: Place[HandClock]) -> None:
    queue = await place.queue(fair_share=5)
    await queue.add_tasks([NewTask("t", {}, TaskPriority.LOW)])
    place.clock.advance(1)
    await queue.add_tasks([NewTask("t", {}, TaskPriority.NORMAL) for _ in range(5)])
    await queue.add_tasks([NewTask("t", {}, TaskPriority.CRITICAL) for _ in range(30)])
    taken = [(await take_one(queue))[1].priority for _ in range(10)]
    assert taken[:4] == [TaskPriority.CRITICAL] * 4
    assert taken[4] == TaskPriority.LOW  # the oldest of the lower ones, not the next priority
    assert taken[9] == TaskPriority.NORMAL
    batch = [delivery.task.priority for delivery in await queue.take("w", 20)]
    assert batch.count(TaskPriority.NORMAL) == 4


async def test_low_waits_for_no_more_than_twenty_deliveries_each(place: Place[HandClock]) -> None:
    queue = await place.queue(fair_share=TaskQueueConfig().fair_share)
    await queue.add_tasks([NewTask("t", {}, TaskPriority.LOW) for _ in range(3)])
    place.clock.advance(1)
    await queue.add_tasks([NewTask("t", {}, TaskPriority.CRITICAL) for _ in range(90)])
    order: list[TaskPriority] = []
    for count in (1, 7, 30, 2, 25):  # however many a worker takes at once
        taken = [delivery.task.priority for delivery in await queue.take("w", count)]
        order += taken
        assert order.count(TaskPriority.LOW) == min(len(order) // 20, 3)
    assert order.count(TaskPriority.LOW) == 3


async def test_only_types_that_the_worker_handles(queue: TaskQueue) -> None:
    new = [NewTask(name, {"n": n}) for n, name in enumerate("abababab")]
    await queue.add_tasks(new)
    taken = [d.task.payload["n"] for d in await queue.take("w", 2, task_types=["b"])]
    assert taken == [1, 3]
    assert await queue.take("w", 5, task_types=["c"]) == []
    assert [d.task.payload["n"] for d in await queue.take("w", 9, task_types=["a", "b"])] == [
        0, 2, 4, 5, 6, 7,
    ]  # fmt: skip


async def test_a_delayed_task_starts_when_it_is_due(
    queue: TaskQueue, place: Place[HandClock]
) -> None:
    added = await queue.add_task("t", {}, delay=60)
    assert added.status is TaskStatus.SCHEDULED
    place.clock.advance(59)
    assert await queue.take("w", 1) == []
    place.clock.advance(1)
    assert (await take_one(queue))[1].task_id == added.task_id
    assert await queue.take("w", 1) == []


async def test_a_task_can_be_given_a_moment(queue: TaskQueue, place: Place[HandClock]) -> None:
    zurich = timezone(timedelta(hours=1))
    moment = (place.clock.now() + timedelta(seconds=60)).astimezone(zurich)
    added = await queue.add_task("t", {}, run_at=moment)
    assert (added.status, added.available_at) == (TaskStatus.SCHEDULED, moment)
    assert await queue.get_task(added.task_id) == added
    past = await queue.add_task("t", {}, run_at=place.clock.now() - timedelta(days=1))
    assert (past.status, past.available_at) == (TaskStatus.PENDING, place.clock.now())
    message_id, task = await take_one(queue)
    assert task.task_id == past.task_id
    await queue.complete_task(message_id)
    place.clock.advance(59.9)
    assert await queue.take("w", 1) == []
    place.clock.advance(0.1)
    assert (await take_one(queue))[1].task_id == added.task_id


async def test_no_task_is_given_to_two_workers(place: Place[HandClock]) -> None:
    queues = [await place.queue() for _ in range(4)]
    await queues[0].add_tasks([NewTask("t", {}) for _ in range(200)])
    taken: list[str] = []

    async def drain(queue: TaskQueue, name: str) -> None:
        while deliveries := await queue.take(name, 7):
            taken.extend(delivery.task.task_id for delivery in deliveries)

    async with anyio.create_task_group() as group:
        for number, queue in enumerate(queues):
            group.start_soon(drain, queue, f"w{number}")
    assert len(taken) == len(set(taken)) == 200


async def test_pause_and_resume(queue: TaskQueue) -> None:
    for name, priority in itertools.product("ab", (TaskPriority.HIGH, TaskPriority.LOW)):
        await queue.add_task(name, {}, priority=priority)
    await queue.pause("a")
    await queue.pause(TaskPriority.LOW)
    taken = [delivery.task for delivery in await queue.take("w", 9)]
    assert [(task.task_type, task.priority) for task in taken] == [("b", TaskPriority.HIGH)]
    stats = await queue.stats()
    assert (stats.paused_types, stats.paused_priorities) == (("a",), (TaskPriority.LOW,))
    await queue.resume("a")
    await queue.resume(TaskPriority.LOW)
    taken = [delivery.task for delivery in await queue.take("w", 9)]
    assert [(task.task_type, task.priority) for task in taken] == [
        ("a", TaskPriority.HIGH), ("a", TaskPriority.LOW), ("b", TaskPriority.LOW),
    ]  # fmt: skip


async def test_an_idle_consumer_is_woken(place: Place[HandClock]) -> None:
    queue, elsewhere = await place.queue(), await place.queue()
    seen: list[str] = []

    async def consume() -> None:
        async for message_id, task in queue.consume_tasks("w"):
            await queue.complete_task(message_id)
            seen.append(task.task_id)
            if len(seen) == 2:
                return

    added: list[str] = []
    async with anyio.create_task_group() as group:
        group.cancel_scope.deadline = anyio.current_time() + 5
        group.start_soon(consume)
        await anyio.wait_all_tasks_blocked()
        added.append((await queue.add_task("t", {})).task_id)
        await queue.wait_for(added[0], 5)
        added.append((await elsewhere.add_task("u", {})).task_id)
    assert seen == added
