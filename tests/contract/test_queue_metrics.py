"""What Prometheus is told of the queue, on every back end."""

from prometheus_client import CollectorRegistry

from mcp_orchestrator.queue import EventKind, QueueMetrics, TaskPriority, TaskQueue
from tests.services.queue_place import HandClock, Place


async def test_every_end_of_a_task_is_counted(place: Place[HandClock]) -> None:
    registry = CollectorRegistry()
    queue = TaskQueue(
        place.config(lease_seconds=10),
        database=place.database,
        clock=place.clock,
        metrics=QueueMetrics(registry),
    )
    await queue.connect()
    place.opened.append(queue)

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    def count(name: str, priority: str = "NORMAL") -> float:
        return value(f"queue_tasks_{name}_total", task_type="t", priority=priority)

    await queue.add_task("t", {}, idempotency_key="k")
    await queue.add_task("t", {}, idempotency_key="k")  # held by the first: not counted
    assert count("added") == 1
    place.clock.advance(2)
    [delivery] = await queue.take("w", 1)
    assert value("queue_wait_seconds_sum", task_type="t", priority="NORMAL") == 2
    place.clock.advance(3)
    await queue.complete_task(delivery.lease.message_id, 1)
    assert count("completed") == 1
    assert value("queue_run_seconds_sum", task_type="t", priority="NORMAL") == 3

    await queue.add_task("t", {}, max_retries=1)
    [delivery] = await queue.take("w", 1)
    await queue.fail_task(delivery.lease.message_id, "no", delivery.task)
    assert count("retried") == 1
    place.clock.advance(10)
    [delivery] = await queue.take("w", 1)
    await queue.fail_task(delivery.lease.message_id, "no", delivery.task)
    assert count("dead_lettered") == 1

    await queue.add_task("t", {}, priority=TaskPriority.LOW)
    [delivery] = await queue.take("w", 1)
    await queue.hand_back(delivery.lease.message_id, delivery.task, kind=EventKind.PREEMPTED)
    assert count("preempted", "LOW") == 1
    [delivery] = await queue.take("w", 1)
    await queue.fail_task(delivery.lease.message_id, "no", delivery.task, retryable=False)
    assert count("failed", "LOW") == 1

    waiting = await queue.add_task("t", {}, priority=TaskPriority.HIGH)
    place.clock.advance(4)
    await queue.stats()
    assert value("queue_depth", priority="HIGH") == 1
    assert value("queue_oldest_age_seconds", priority="HIGH") == 4
    await queue.cancel_task(waiting.task_id)
    assert count("cancelled", "HIGH") == 1
