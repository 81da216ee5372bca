"""How attempts end on every back end: lost, failed, cancelled, handed back, dead."""

from datetime import timedelta

import anyio
import pytest

from mcp_orchestrator.errors import ConflictError, NotFoundError, StaleLeaseError
from mcp_orchestrator.queue import EventKind, NewTask, TaskProgress, TaskQueue, TaskStatus
from mcp_orchestrator.queue.backends import choose_backend
from mcp_orchestrator.queue.port import Heartbeat
from tests.services.queue_place import HandClock, Place, take_one


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


@pytest.mark.parametrize("late_first", [True, False])
async def test_a_task_that_comes_back_to_the_process_that_lost_it_is_renewed(
    late_first: bool, queue: TaskQueue, place: Place[HandClock]
) -> None:
    await queue.add_task("t", {})
    [late] = await queue.take("w", 1)
    place.clock.advance(31)
    [held] = await queue.take("w", 1)
    leases = (late.lease, held.lease) if late_first else (held.lease, late.lease)
    backend = choose_backend(place.config(), place.database, None, place.clock)
    async with backend.renewer() as renewer:  # what the thread does, at times of our choosing
        for _ in range(3):
            place.clock.advance(20)
            now = place.clock.now()
            reply = await renewer.renew(Heartbeat(leases, (), now, now + timedelta(seconds=30)))
            assert reply.lost == (late.lease,)
    await backend.close()
    assert await queue.take("other", 1) == []
    await queue.complete_task(held.lease.message_id)
