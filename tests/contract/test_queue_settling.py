"""What every back end promises when many tasks are added or end together."""

from mcp_orchestrator.errors import StaleLeaseError
from mcp_orchestrator.queue import (
    EventKind,
    NewTask,
    TaskQueue,
    TaskStatus,
)


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
