"""What the worker promises on every back end."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from pydantic import JsonValue

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import BusinessRefusalError
from mcp_orchestrator.queue import (
    EventKind,
    RetryLater,
    TaskContext,
    TaskPriority,
    TaskProgress,
    TaskQueue,
    TaskStatus,
    Worker,
)
from tests.services.queue_place import HandClock, Place, eventually, take_one

Payload = dict[str, JsonValue]


@pytest.fixture
async def queue(live_place: Place[SystemClock]) -> TaskQueue:
    return await live_place.queue(backoff_base_seconds=0.001, lease_seconds=5)


async def double(payload: Payload, context: TaskContext) -> JsonValue:
    n = payload["n"]
    assert isinstance(n, int)
    await context.report_progress("doubling", 1, 2)
    return n * 2


async def wait_forever(payload: Payload, context: TaskContext) -> JsonValue:
    await anyio.sleep_forever()


async def fail(payload: Payload, context: TaskContext) -> JsonValue:
    raise ValueError(f"attempt {context.attempt}")


async def test_tasks_are_run_and_their_results_recorded(queue: TaskQueue) -> None:
    async with anyio.create_task_group() as group:
        worker = Worker(queue, {"double": double}, concurrency=4)
        group.start_soon(worker.run)
        added = [await queue.add_task("double", {"n": n}) for n in range(20)]
        done = [await queue.wait_for(task.task_id, 10) for task in added]
        assert [task.result for task in done] == [n * 2 for n in range(20)]
        assert done[0].progress == TaskProgress("doubling", 1, 2)
        worker.stop()


async def test_a_task_of_an_unknown_type_is_left_alone(queue: TaskQueue) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, {"double": double}).run)
        other = await queue.add_task("other", {})
        mine = await queue.add_task("double", {"n": 1})
        assert (await queue.wait_for(mine.task_id, 10)).status is TaskStatus.COMPLETED
        assert (await queue.get_task(other.task_id)).attempt == 0
        group.start_soon(Worker(queue, {"other": wait_forever}, grace_seconds=0).run)

        async def is_running() -> bool:
            return (await queue.get_task(other.task_id)).status is TaskStatus.PROCESSING

        await eventually(is_running)
        group.cancel_scope.cancel()


async def test_failures_are_retried_then_buried_with_their_traces(queue: TaskQueue) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, {"fail": fail}).run)
        added = await queue.add_task("fail", {}, max_retries=2)
        dead = await queue.wait_for(added.task_id, 10)
        assert (dead.status, dead.attempt) == (TaskStatus.DEAD_LETTER, 3)
        assert dead.error == "ValueError: attempt 3"
        details = [event.detail or "" for event in dead.history]
        assert len(details) == 3
        assert "Traceback" in details[0]
        assert "attempt 1" in details[0]
        group.cancel_scope.cancel()


async def test_refusals_are_not_retried_and_wishes_are_honoured(queue: TaskQueue) -> None:
    async def refuse(payload: Payload, context: TaskContext) -> JsonValue:
        raise BusinessRefusalError("sold out")

    async def later(payload: Payload, context: TaskContext) -> JsonValue:
        if context.attempt == 1:
            raise RetryLater("busy", after=0.3)
        return context.attempt

    async def unusable(payload: Payload, context: TaskContext) -> JsonValue:
        return {"x": float("nan")}

    handlers = {"refuse": refuse, "later": later, "unusable": unusable}
    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, handlers).run)
        refused, again, odd = [await queue.add_task(name, {}) for name in handlers]
        assert (await queue.wait_for(refused.task_id, 10)).status is TaskStatus.FAILED
        assert (await queue.wait_for(odd.task_id, 10)).status is TaskStatus.FAILED
        done = await queue.wait_for(again.task_id, 10)
        assert done.result == 2
        assert done.started_at is not None
        assert (done.started_at - done.created_at).total_seconds() >= 0.3
        group.cancel_scope.cancel()


async def test_a_long_task_holds_up_no_other(queue: TaskQueue) -> None:
    began, may_end = anyio.Event(), anyio.Event()

    async def long(payload: Payload, context: TaskContext) -> JsonValue:
        began.set()
        await may_end.wait()
        return None

    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, {"long": long, "double": double}, concurrency=3).run)
        first = await queue.add_task("long", {})
        await began.wait()
        for n in range(3):
            other = await queue.add_task("double", {"n": n})
            assert (await queue.wait_for(other.task_id, 20)).result == n * 2
        may_end.set()
        assert (await queue.wait_for(first.task_id, 20)).status is TaskStatus.COMPLETED
        group.cancel_scope.cancel()


async def test_an_attempt_is_bounded(queue: TaskQueue) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, {"wait": wait_forever}).run)
        added = await queue.add_task("wait", {}, timeout=0.05, max_retries=0)
        dead = await queue.wait_for(added.task_id, 10)
        assert dead.status is TaskStatus.DEAD_LETTER
        assert dead.error == "TimeoutError: no result within 0.05 seconds"
        group.cancel_scope.cancel()


async def test_cancelling_a_running_task_cancels_its_handler(
    live_place: Place[SystemClock],
) -> None:
    queue, elsewhere = await live_place.queue(), await live_place.queue()
    started, cleaned = anyio.Event(), anyio.Event()

    async def handler(payload: Payload, context: TaskContext) -> JsonValue:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.set()

    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, {"t": handler}).run)
        added = await queue.add_task("t", {})
        await started.wait()
        await elsewhere.cancel_task(added.task_id)
        ended = await elsewhere.wait_for(added.task_id, 10)
        assert ended.status is TaskStatus.CANCELLED
        assert cleaned.is_set()
        assert [event.kind for event in ended.history] == [
            EventKind.CANCEL_REQUESTED,
            EventKind.CANCELLED,
        ]
        group.cancel_scope.cancel()


async def test_a_cancelled_worker_finishes_what_it_can_and_hands_back_the_rest(
    queue: TaskQueue,
) -> None:
    release, started = anyio.Event(), [anyio.Event(), anyio.Event()]

    async def finishes(payload: Payload, context: TaskContext) -> JsonValue:
        started[0].set()
        await release.wait()
        return "finished"

    async def goes_on(payload: Payload, context: TaskContext) -> JsonValue:
        started[1].set()
        await anyio.sleep_forever()

    first = await queue.add_task("finishes", {})
    second = await queue.add_task("goes_on", {})
    worker = Worker(queue, {"finishes": finishes, "goes_on": goes_on}, grace_seconds=0.5)
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        for event in started:
            await event.wait()
        group.cancel_scope.cancel()
        release.set()
    assert (await queue.get_task(first.task_id)).result == "finished"
    back = await queue.get_task(second.task_id)
    assert (back.status, back.attempt) == (TaskStatus.PENDING, 0)
    assert [event.kind for event in back.history] == [EventKind.HANDED_BACK]


async def test_a_handler_that_blocks_while_others_write_keeps_its_lease(
    live_place: Place[SystemClock],
) -> None:
    queue, rival = await live_place.queue(lease_seconds=1), await live_place.queue(lease_seconds=1)
    runs: list[int] = []

    async def keep_writing() -> None:
        while not runs:  # so that the loop is blocked in the middle of somebody's transaction
            await queue.add_task("other", {})

    async def block(payload: Payload, context: TaskContext) -> JsonValue:
        runs.append(context.attempt)
        time.sleep(3)  # noqa: ASYNC251 - a handler that blocks the event loop is the point
        return "done"

    added = await queue.add_task("block", {}, delay=0.2)
    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, {"block": block}).run)
        group.start_soon(Worker(rival, {"block": block}).run)
        for _ in range(5):
            group.start_soon(keep_writing)
        done = await queue.wait_for(added.task_id, 10)
        assert (done.result, runs, done.attempt) == ("done", [1], 1)
        group.cancel_scope.cancel()


async def test_live_workers_are_known(queue: TaskQueue) -> None:
    started = anyio.Event()

    async def handler(payload: Payload, context: TaskContext) -> JsonValue:
        started.set()
        await anyio.sleep_forever()

    async def is_known() -> bool:
        return len((await queue.stats()).workers) == 1

    async def is_forgotten() -> bool:
        return not (await queue.stats()).workers

    async with anyio.create_task_group() as group:
        worker = Worker(queue, {"t": handler}, concurrency=3, worker_id="ann", grace_seconds=0)
        group.start_soon(worker.run)
        await eventually(is_known)
        workers = (await queue.stats()).workers
        assert [(one.worker_id, one.concurrency, one.task_types) for one in workers] == [
            ("ann", 3, ("t",))
        ]
        await queue.add_task("t", {})
        await started.wait()
        worker.stop()
    await eventually(is_forgotten)


async def test_stop_ends_an_idle_worker_at_once(queue: TaskQueue) -> None:
    with anyio.fail_after(2):
        async with anyio.create_task_group() as group:
            worker = Worker(queue, {"double": double})
            group.start_soon(worker.run)
            await anyio.wait_all_tasks_blocked()
            worker.stop()


async def test_a_critical_task_takes_the_place_of_a_preemptible_one(queue: TaskQueue) -> None:
    started: list[str] = []

    async def note(payload: Payload, context: TaskContext) -> JsonValue:
        started.append(str(payload["name"]))
        if len(started) == 2:  # both slots are taken, until one is preempted
            both.set()
        if payload["name"] == "urgent":
            return "done"
        await release.wait()
        return context.attempt

    both, release = anyio.Event(), anyio.Event()
    firm = await queue.add_task("t", {"name": "firm"}, priority=TaskPriority.LOW)
    soft = await queue.add_task("t", {"name": "soft"}, preemptible=True)
    async with anyio.create_task_group() as group:
        group.start_soon(Worker(queue, {"t": note}, concurrency=2).run)
        await both.wait()
        high = await queue.add_task("t", {"name": "high"}, priority=TaskPriority.HIGH)
        urgent = await queue.add_task("t", {"name": "urgent"}, priority=TaskPriority.CRITICAL)
        assert (await queue.wait_for(urgent.task_id, 10)).result == "done"
        release.set()
        again = await queue.wait_for(soft.task_id, 10)
        assert (again.result, again.attempt) == (1, 1)
        assert [event.kind for event in again.history] == [EventKind.PREEMPTED]
        assert (await queue.wait_for(firm.task_id, 10)).history == ()
        await queue.wait_for(high.task_id, 10)
        assert started == ["soft", "firm", "urgent", "high", "soft"]
        group.cancel_scope.cancel()


async def test_a_closed_queue_can_be_opened_again(queue: TaskQueue) -> None:
    for n in range(2):
        await queue.connect()
        async with anyio.create_task_group() as group:
            worker = Worker(queue, {"double": double}, worker_id="ann")
            group.start_soon(worker.run)
            task = await queue.add_task("double", {"n": n})
            assert (await queue.wait_for(task.task_id, 10)).result == n * 2
            worker.stop()
        await queue.close()
    await queue.connect()
    assert (await queue.stats()).workers == ()


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


async def test_a_run_that_was_lost_is_stopped_though_its_task_came_back(
    live_place: Place[SystemClock], queue: TaskQueue
) -> None:
    began, stopped = anyio.Event(), anyio.Event()

    async def handler(payload: Payload, context: TaskContext) -> JsonValue:
        if began.is_set():
            return "done"
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    config, tomorrow = live_place.config(), HandClock(datetime.now(UTC) + timedelta(days=1))
    async with (
        TaskQueue(config, database=live_place.database, clock=tomorrow) as thief,
        anyio.create_task_group() as group,
    ):
        group.start_soon(Worker(queue, {"t": handler}, concurrency=2).run)
        added = await queue.add_task("t", {})
        await began.wait()
        message_id, task = await take_one(thief, "thief")
        await thief.hand_back(message_id, task)
        assert (await queue.wait_for(added.task_id, 10)).result == "done"
        with anyio.fail_after(10):
            await stopped.wait()
        group.cancel_scope.cancel()
