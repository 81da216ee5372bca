"""What every back end of the queue promises."""

import anyio
import pytest
from pydantic import JsonValue

from mcp_orchestrator.errors import (
    InvalidInputError,
    LimitExceededError,
    NotFoundError,
    StaleLeaseError,
)
from mcp_orchestrator.queue import (
    NewTask,
    Task,
    TaskFilter,
    TaskPriority,
    TaskProgress,
    TaskQueue,
    TaskStatus,
)
from tests.services.queue_place import HandClock, Place, take_one


async def test_a_task_is_kept_as_it_was_given(queue: TaskQueue, place: Place[HandClock]) -> None:
    payload: dict[str, JsonValue] = {
        "text": "naïve \u2028 \x00 \U0001f600",
        "n": 1.5,
        "deep": [None, {"b": 1, "a": [True]}],
    }
    added = await queue.add_task(
        "mail", payload, priority=TaskPriority.HIGH, idempotency_key="k1", max_retries=7,
        timeout=2.5, owner="ann", preemptible=True,
    )  # fmt: skip
    assert await queue.get_task(added.task_id) == added
    other = await place.queue()
    seen = await other.get_task(added.task_id)
    assert seen == added
    assert list(seen.payload) == ["text", "n", "deep"]
    assert (seen.status, seen.attempt, seen.created_at) == (
        TaskStatus.PENDING,
        0,
        place.clock.now(),
    )


async def test_a_result_is_recorded_once(queue: TaskQueue, place: Place[HandClock]) -> None:
    added = await queue.add_task("mail", {})
    message_id, task = await take_one(queue)
    assert (task.task_id, task.status, task.attempt) == (added.task_id, TaskStatus.PROCESSING, 1)
    assert await queue.take("other", 5) == []
    place.clock.advance(1)
    await queue.complete_task(message_id, {"sent": [1, 2]})
    await queue.complete_task(message_id, {"sent": [1, 2]})  # said again after a lost reply
    done = await queue.get_task(added.task_id)
    assert (done.status, done.result) == (TaskStatus.COMPLETED, {"sent": [1, 2]})
    assert done.finished_at == place.clock.now()
    assert done.worker_id == "w"
    with pytest.raises(StaleLeaseError):
        await queue.fail_task(message_id, "too late", task)
    assert (await queue.get_task(added.task_id)).status is TaskStatus.COMPLETED


async def test_progress_can_be_seen(queue: TaskQueue) -> None:
    added = await queue.add_task("t", {})
    message_id, _ = await take_one(queue)
    await queue.record_progress(message_id, TaskProgress("half", 1, 2))
    assert (await queue.get_task(added.task_id)).progress == TaskProgress("half", 1, 2)


async def test_stats_count(queue: TaskQueue, place: Place[HandClock]) -> None:
    await queue.add_tasks([NewTask("t", {}, TaskPriority.LOW) for _ in range(3)])
    await queue.add_task("t", {}, delay=500)
    place.clock.advance(7)
    await queue.add_task("t", {}, priority=TaskPriority.HIGH)
    message_id, _ = await take_one(queue)
    await take_one(queue)
    await queue.complete_task(message_id)
    stats = await queue.stats()
    assert stats.waiting == 2
    assert stats.by_priority[TaskPriority.LOW].waiting == 2
    assert stats.by_priority[TaskPriority.LOW].oldest_age == 7
    assert stats.by_priority[TaskPriority.HIGH].oldest_age is None
    assert {status: count for status, count in stats.by_status.items() if count} == {
        TaskStatus.PENDING: 2, TaskStatus.PROCESSING: 1, TaskStatus.SCHEDULED: 1,
        TaskStatus.COMPLETED: 1,
    }  # fmt: skip


async def test_listing_in_pages(queue: TaskQueue) -> None:
    added = await queue.add_tasks(
        [NewTask("ab"[n % 2], {}, owner=("ann", None)[n % 3 == 0]) for n in range(12)]
    )
    ids = [task.task_id for task in added]
    page = await queue.list_tasks(TaskFilter(limit=5))
    assert [task.task_id for task in page] == ids[:6:-1]
    page = await queue.list_tasks(TaskFilter(before=page[-1].task_id))
    assert [task.task_id for task in page] == ids[6::-1]
    await take_one(queue)
    running = await queue.list_tasks(TaskFilter(status=TaskStatus.PROCESSING))
    assert [task.task_id for task in running] == ids[:1]
    b_of_ann = await queue.list_tasks(TaskFilter(task_type="b", owner="ann"))
    assert [task.task_id for task in b_of_ann] == [ids[11], ids[7], ids[5], ids[1]]


async def test_an_unusable_result_is_refused(place: Place[HandClock]) -> None:
    queue = await place.queue(max_result_bytes=10)
    await queue.add_task("t", {})
    message_id, _ = await take_one(queue)
    with pytest.raises(LimitExceededError):
        await queue.complete_task(message_id, "x" * 20)
    with pytest.raises(InvalidInputError):
        await queue.complete_task("nonsense")
    with pytest.raises(StaleLeaseError):
        await queue.complete_task("task_nowhere:1")
    await queue.complete_task(message_id, "x")


async def test_finished_tasks_are_forgotten_after_their_retention(place: Place[HandClock]) -> None:
    queue = await place.queue(retention_seconds=100)
    old = await queue.add_task("t", {}, idempotency_key="k")
    message_id, _ = await take_one(queue)
    await queue.complete_task(message_id)
    place.clock.advance(99)
    assert await queue.take("w", 1) == []
    assert (await queue.get_task(old.task_id)).status is TaskStatus.COMPLETED
    place.clock.advance(120)
    assert await queue.take("w", 1) == []
    with pytest.raises(NotFoundError):
        await queue.get_task(old.task_id)
    fresh = await queue.add_task("t", {}, idempotency_key="k")
    assert fresh.task_id != old.task_id


async def test_waiting_for_a_task(place: Place[HandClock]) -> None:
    queue, elsewhere = await place.queue(), await place.queue()
    added = await queue.add_task("t", {})
    assert (await queue.wait_for(added.task_id, 0.05)).status is TaskStatus.PENDING
    message_id, _ = await take_one(queue)
    results: list[Task] = []

    async def wait(waiting: TaskQueue) -> None:
        results.append(await waiting.wait_for(added.task_id, 10))

    async with anyio.create_task_group() as group:
        for waiting in (queue, elsewhere, elsewhere):
            group.start_soon(wait, waiting)
        await anyio.wait_all_tasks_blocked()
        await queue.complete_task(message_id, 5)
    assert [task.result for task in results] == [5, 5, 5]
    assert (await queue.wait_for(added.task_id, 0)).result == 5
    with pytest.raises(NotFoundError):
        await queue.wait_for("task_nowhere", 1)


async def test_ping_names_the_back_end(queue: TaskQueue, place: Place[HandClock]) -> None:
    assert (await queue.ping()).lower().startswith(place.name.removesuffix("-cluster"))
