"""The traps of Redis Streams that other queues fell into, each with the test that shows we do not.

That a late worker's outcome is refused although XACK would take it, and that priorities are served
in order, is in the contract of every back end.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from mcp_orchestrator.queue import NewTask, TaskPriority, TaskStatus
from mcp_orchestrator.queue.port import Heartbeat
from mcp_orchestrator.queue.redis_streams.backend import RedisBackend
from tests.services.queue_place import HandClock, Place, open_place

LEASE = 30.0


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place[HandClock]]:
    async with open_place(request, "redis", tmp_path, HandClock()) as opened:
        yield opened


@pytest.fixture
async def redis(place: Place[HandClock]) -> AsyncIterator[Any]:
    clients: Any = Redis
    client = clients.from_url(place.redis_url or "")
    yield client
    await client.aclose()


async def test_streams_do_not_grow(place: Place[HandClock], redis: Any) -> None:
    queue = await place.queue()
    for priority in TaskPriority:
        await queue.add_tasks([NewTask("t", {}, priority) for _ in range(50)])
    while taken := await queue.take("w", 30):
        for delivery in taken:
            await queue.complete_task(delivery.lease.message_id)
    streams = [key async for key in redis.scan_iter(f"*{place.group}*:stream:*")]
    lengths = [await redis.xlen(stream) for stream in streams]
    assert sum(lengths) == 0


async def test_reclaim_passes_no_priority_over_and_has_no_end(place: Place[HandClock]) -> None:
    queue = await place.queue(lease_seconds=LEASE, batch_size=1000, max_retries=1)
    for priority in TaskPriority:
        await queue.add_tasks([NewTask("t", {}, priority) for _ in range(120)])
    lost = await queue.take("dead", 480)
    assert len(lost) == 480
    place.clock.advance(LEASE + 1)
    await queue.add_tasks([NewTask("t", {}, TaskPriority.CRITICAL) for _ in range(50)])
    again = [one for _ in range(6) for one in await queue.take("w", 1000)]
    assert len(again) == len({one.task.task_id for one in again}) == 480 + 50
    assert {one.task.task_id for one in lost} < {one.task.task_id for one in again}


async def test_delayed_tasks_are_moved_once(place: Place[HandClock]) -> None:
    queues = [await place.queue() for _ in range(4)]
    added = await queues[0].add_tasks([NewTask("t", {}, delay=5) for _ in range(500)])
    place.clock.advance(5)
    taken: list[str] = []

    async def take(number: int) -> None:
        while deliveries := await queues[number].take(f"w{number}", 20):
            taken.extend(delivery.task.task_id for delivery in deliveries)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(take, number)
    assert sorted(taken) == sorted(task.task_id for task in added)


async def test_renewing_counts_no_attempts(place: Place[HandClock]) -> None:
    queue = await place.queue(lease_seconds=LEASE, max_retries=0)
    await queue.add_task("t", {})
    [delivery] = await queue.take("w", 1)
    backend = RedisBackend(place.config(lease_seconds=LEASE), place.clock)
    async with backend.renewer() as renewer:  # what the thread does, at times of our choosing
        for _ in range(20):
            place.clock.advance(LEASE / 2)
            now = place.clock.now()
            until = now + timedelta(seconds=LEASE)
            reply = await renewer.renew(Heartbeat((delivery.lease,), (), now, until))
            assert reply.lost == ()
    await backend.close()
    assert await queue.take("other", 1) == []
    assert (await queue.get_task(delivery.task.task_id)).attempt == 1
    await queue.complete_task(delivery.lease.message_id)


async def test_lost_scripts_are_given_again(place: Place[HandClock], redis: Any) -> None:
    queue = await place.queue()
    task = await queue.add_task("t", {})
    await redis.script_flush()
    [delivery] = await queue.take("w", 1)
    await redis.script_flush()
    await queue.complete_task(delivery.lease.message_id, 1)
    assert (await queue.get_task(task.task_id)).status is TaskStatus.COMPLETED


async def test_more_callers_than_connections(place: Place[HandClock]) -> None:
    queue = await place.queue()
    added = await queue.add_tasks([NewTask("t", {}) for _ in range(300)])
    seen: list[str] = []

    async def look(task_id: str) -> None:
        seen.append((await queue.get_task(task_id)).task_id)

    async with anyio.create_task_group() as group:
        for task in added:
            group.start_soon(look, task.task_id)
    assert len(seen) == 300
