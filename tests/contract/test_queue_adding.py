"""What every back end promises to those who add tasks: keys, bounds, refusals."""

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from mcp_orchestrator.errors import InvalidInputError, LimitExceededError, QueueFullError
from mcp_orchestrator.queue import NewTask, Task, TaskQueue, TaskStatus
from tests.services.queue_place import HandClock, Place, take_one


async def test_an_idempotency_key_returns_the_existing_task(place: Place[HandClock]) -> None:
    queue, other = await place.queue(), await place.queue()
    first = await queue.add_task("t", {"n": 1}, idempotency_key="k", owner="ann")
    assert await other.add_task("t", {"n": 2}, idempotency_key="k", owner="ann") == first
    assert (await queue.add_task("t", {}, idempotency_key="k", owner="bob")).owner == "bob"
    assert (await queue.add_task("t", {}, idempotency_key="k")).owner is None
    message_id, _ = await take_one(queue)
    await queue.complete_task(message_id, 1)
    again = await queue.add_task("t", {}, idempotency_key="k", owner="ann")
    assert (again.task_id, again.status) == (first.task_id, TaskStatus.COMPLETED)
    both = await queue.add_tasks([NewTask("t", {}, idempotency_key="x") for _ in range(2)])
    assert both[0] == both[1]


async def test_many_callers_with_one_key_add_one_task(place: Place[HandClock]) -> None:
    queues = [await place.queue() for _ in range(3)]
    ids: set[str] = set()

    async def add(queue: TaskQueue) -> None:
        ids.add((await queue.add_task("t", {}, idempotency_key="k")).task_id)

    async with anyio.create_task_group() as group:
        for queue in queues * 7:
            group.start_soon(add, queue)
    assert len(ids) == 1
    assert len(await queues[0].take("w", 100)) == 1


async def test_a_key_that_is_unique_while_pending_is_free_after_the_end(queue: TaskQueue) -> None:
    async def add() -> Task:
        return await queue.add_task("t", {}, idempotency_key="k", unique_while_pending=True)

    first = await add()
    assert (await add()).task_id == first.task_id
    message_id, _ = await take_one(queue)
    assert (await add()).task_id == first.task_id  # also while it runs
    await queue.complete_task(message_id, None)
    second = await add()
    assert second.task_id != first.task_id
    await queue.cancel_task(second.task_id)
    third = await add()
    assert third.task_id != second.task_id
    message_id, task = await take_one(queue)
    await queue.fail_task(message_id, "no", task, retryable=False)
    assert (await add()).task_id != third.task_id
    lasting = await queue.add_task("t", {}, idempotency_key="k")  # another kind of key
    assert lasting.task_id not in {first.task_id, second.task_id, third.task_id}


async def test_a_bounded_queue_refuses_all_or_none(place: Place[HandClock]) -> None:
    queue = await place.queue(max_length=3)
    await queue.add_task("t", {})
    with pytest.raises(QueueFullError):
        await queue.add_tasks([NewTask("t", {}) for _ in range(3)])
    await queue.add_tasks([NewTask("t", {}), NewTask("t", {}, delay=5)])
    with pytest.raises(QueueFullError):
        await queue.add_task("t", {})
    await take_one(queue)
    await queue.add_task("t", {})


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"task_type": ""}, InvalidInputError),
        ({"task_type": "a\nb"}, InvalidInputError),
        ({"payload": {"x": float("nan")}}, InvalidInputError),
        ({"payload": {"x": "\ud800"}}, InvalidInputError),
        ({"payload": {"x": "y" * 2000}}, LimitExceededError),
        ({"delay": -1}, InvalidInputError),
        ({"delay": float("inf")}, InvalidInputError),
        ({"run_at": datetime(2031, 1, 1)}, InvalidInputError),  # noqa: DTZ001 - that is the point
        ({"run_at": datetime(2031, 1, 1, tzinfo=UTC), "delay": 1}, InvalidInputError),
        ({"run_at": datetime(2300, 1, 1, tzinfo=UTC)}, InvalidInputError),
        ({"timeout": 0}, InvalidInputError),
        ({"max_retries": -1}, InvalidInputError),
        ({"idempotency_key": ""}, InvalidInputError),
    ],
)
async def test_bad_input_writes_nothing(
    place: Place[HandClock], fields: dict[str, Any], error: type[Exception]
) -> None:
    queue = await place.queue(max_payload_bytes=1000)
    whole: dict[str, Any] = {"task_type": "t", "payload": {}}
    bad = NewTask(**(whole | fields))
    with pytest.raises(error):
        await queue.add_tasks([NewTask("t", {}), bad])
    assert await queue.list_tasks() == []
