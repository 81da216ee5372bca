"""What every back end of the queue promises."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from mcp_orchestrator.errors import (
    ConflictError,
    InvalidInputError,
    LimitExceededError,
    NotFoundError,
    QueueFullError,
    StaleLeaseError,
)
from mcp_orchestrator.queue import (
    EventKind,
    NewTask,
    Task,
    TaskFilter,
    TaskPriority,
    TaskProgress,
    TaskQueue,
    TaskQueueConfig,
    TaskStatus,
)
from tests.services.queue_place import (  # noqa: F401
    BACK_ENDS_AND_CLUSTER,
    HandClock,
    Place,
    open_place,
    redis_cluster,  # pyright: ignore[reportUnusedImport] - a fixture
)


@pytest.fixture(params=BACK_ENDS_AND_CLUSTER)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place[HandClock]]:
    async with open_place(request, str(request.param), tmp_path, HandClock()) as opened:
        yield opened


@pytest.fixture
async def queue(place: Place[HandClock]) -> TaskQueue:
    return await place.queue()


async def take_one(queue: TaskQueue, worker: str = "w") -> tuple[str, Task]:
    deliveries = await queue.take(worker, 1)
    assert len(deliveries) == 1
    return deliveries[0].lease.message_id, deliveries[0].task


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


async def test_a_silent_workers_task_is_taken_over_and_its_outcome_refused(
    place: Place[HandClock],
) -> None:
    mine, yours = await place.queue(), await place.queue()
    added = await mine.add_task("t", {})
    late_id, late_task = await take_one(mine, "mine")
    place.clock.advance(31)
    message_id, task = await take_one(yours, "yours")
    assert (task.task_id, task.attempt) == (added.task_id, 2)
    assert [event.kind for event in task.history] == [EventKind.WORKER_LOST]
    with pytest.raises(StaleLeaseError):
        await mine.complete_task(late_id, "mine")
    with pytest.raises(StaleLeaseError):
        await mine.fail_task(late_id, "mine", late_task)
    with pytest.raises(StaleLeaseError):
        await mine.hand_back(late_id, late_task)
    with pytest.raises(StaleLeaseError):
        await mine.record_progress(late_id, TaskProgress("mine"))
    await yours.complete_task(message_id, "yours")
    assert (await mine.get_task(added.task_id)).result == "yours"


async def test_recovered_tasks_go_first_and_a_killer_ends_in_the_dead_letters(
    queue: TaskQueue, place: Place[HandClock]
) -> None:
    killer = await queue.add_task("t", {}, max_retries=2)
    await queue.add_task("t", {})
    for attempt in (1, 2, 3):
        _, task = await take_one(queue)
        assert (task.task_id, task.attempt) == (killer.task_id, attempt)
        place.clock.advance(31)
    _, task = await take_one(queue)
    assert task.task_id != killer.task_id
    dead = await queue.get_task(killer.task_id)
    assert dead.status is TaskStatus.DEAD_LETTER
    assert dead.error == "The worker w stopped renewing its lease."


async def test_a_failed_task_waits_and_comes_back(
    queue: TaskQueue, place: Place[HandClock]
) -> None:
    added = await queue.add_task("t", {}, max_retries=1)
    message_id, task = await take_one(queue)
    assert await queue.fail_task(message_id, ValueError("no"), task) is TaskStatus.SCHEDULED
    waiting = await queue.get_task(added.task_id)
    assert (waiting.status, waiting.error) == (TaskStatus.SCHEDULED, "ValueError: no")
    assert place.clock.now() <= waiting.available_at <= place.clock.now() + timedelta(seconds=2)
    place.clock.advance(2)
    message_id, task = await take_one(queue)
    assert task.attempt == 2
    assert await queue.fail_task(message_id, ValueError("no"), task) is TaskStatus.DEAD_LETTER
    dead = await queue.get_task(added.task_id)
    assert [event.kind for event in dead.history] == [EventKind.ATTEMPT_FAILED] * 2
    assert dead.finished_at == place.clock.now()


async def test_retry_after_is_honoured(queue: TaskQueue, place: Place[HandClock]) -> None:
    await queue.add_task("t", {})
    message_id, task = await take_one(queue)
    await queue.fail_task(message_id, "busy", task, retry_after=1000)
    place.clock.advance(999)
    assert await queue.take("w", 1) == []
    place.clock.advance(1)
    await take_one(queue)


async def test_a_permanent_failure_is_not_retried(queue: TaskQueue) -> None:
    added = await queue.add_task("t", {})
    message_id, task = await take_one(queue)
    assert await queue.fail_task(message_id, "no", task, retryable=False) is TaskStatus.FAILED
    assert (await queue.get_task(added.task_id)).status is TaskStatus.FAILED


async def test_dead_letters_can_be_looked_into_requeued_and_purged(queue: TaskQueue) -> None:
    ids: list[str] = []
    for name in ("a", "a", "b"):
        ids.append((await queue.add_task(name, {}, max_retries=0)).task_id)
        message_id, task = await take_one(queue)
        await queue.fail_task(message_id, "no", task)
    assert [t.task_id for t in await queue.dead_letters.list_tasks()] == ids[::-1]
    again = await queue.dead_letters.retry(ids[0])
    assert (again.status, again.attempt) == (TaskStatus.PENDING, 0)
    assert again.history[-1].kind is EventKind.REQUEUED
    with pytest.raises(ConflictError):
        await queue.dead_letters.retry(ids[0])
    assert await queue.dead_letters.retry_all("a") == 1
    assert {d.task.task_id for d in await queue.take("w", 9)} == set(ids[:2])
    assert await queue.dead_letters.purge("a") == 0
    assert await queue.dead_letters.purge() == 1
    with pytest.raises(NotFoundError):
        await queue.get_task(ids[2])


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


async def test_a_waiting_task_is_cancelled_at_once(
    queue: TaskQueue, place: Place[HandClock]
) -> None:
    pending = await queue.add_task("t", {})
    delayed = await queue.add_task("t", {}, delay=5)
    for task in (pending, delayed):
        cancelled = await queue.cancel_task(task.task_id)
        assert cancelled.status is TaskStatus.CANCELLED
        assert await queue.cancel_task(task.task_id) == cancelled
    place.clock.advance(6)
    assert await queue.take("w", 5) == []
    with pytest.raises(NotFoundError):
        await queue.cancel_task("task_nowhere")


async def test_a_running_task_is_asked_to_stop(queue: TaskQueue, place: Place[HandClock]) -> None:
    added = await queue.add_task("t", {})
    message_id, task = await take_one(queue)
    marked = await queue.cancel_task(added.task_id)
    assert (marked.status, marked.cancel_requested) == (TaskStatus.PROCESSING, True)
    asked = anyio.Event()

    def ask(task_id: str) -> None:
        assert task_id == added.task_id
        asked.set()

    async with anyio.create_task_group() as group:
        group.start_soon(queue.watch_cancels, "w", lambda: {task.task_id}, ask)
        with anyio.fail_after(5):
            await asked.wait()
        group.cancel_scope.cancel()
    await queue.end_cancelled(message_id, task)
    assert (await queue.get_task(added.task_id)).status is TaskStatus.CANCELLED


async def test_a_cancelled_task_gets_no_further_attempt(
    queue: TaskQueue, place: Place[HandClock]
) -> None:
    ids: list[str] = []
    for end in ("fail", "silence"):
        ids.append((await queue.add_task("t", {})).task_id)
        message_id, task = await take_one(queue)
        await queue.cancel_task(task.task_id)
        if end == "fail":
            await queue.fail_task(message_id, "no", task)
    place.clock.advance(1000)
    assert await queue.take("w", 5) == []
    assert {(await queue.get_task(one)).status for one in ids} == {TaskStatus.CANCELLED}


async def test_what_is_handed_back_goes_first_and_costs_no_attempt(queue: TaskQueue) -> None:
    added = await queue.add_tasks([NewTask("t", {}) for _ in range(3)])
    message_id, task = await take_one(queue)
    await queue.hand_back(message_id, task)
    message_id, again = await take_one(queue)
    assert (again.task_id, again.attempt) == (added[0].task_id, 1)
    assert [event.kind for event in again.history] == [EventKind.HANDED_BACK]
    await queue.complete_task(message_id)


async def test_progress_can_be_seen(queue: TaskQueue) -> None:
    added = await queue.add_task("t", {})
    message_id, _ = await take_one(queue)
    await queue.record_progress(message_id, TaskProgress("half", 1, 2))
    assert (await queue.get_task(added.task_id)).progress == TaskProgress("half", 1, 2)


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
    place: Place[HandClock], fields: dict[str, object], error: type[Exception]
) -> None:
    queue = await place.queue(max_payload_bytes=1000)
    whole: dict[str, object] = {"task_type": "t", "payload": dict[str, JsonValue]()}
    whole.update(fields)
    with pytest.raises(error):
        await queue.add_tasks([NewTask("t", {}), NewTask(**whole)])  # type: ignore[arg-type]
    assert await queue.list_tasks() == []


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


async def test_ping_names_the_back_end(queue: TaskQueue, place: Place[HandClock]) -> None:
    assert (await queue.ping()).lower().startswith(place.name.removesuffix("-cluster"))


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
