"""Nothing is lost, doubled or stuck when workers and Redis are killed. Real processes, SIGKILL."""

import os
import random
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.queue import NewTask, TaskQueue, TaskQueueConfig, TaskStatus
from tests.conftest import require
from tests.services.queue_place import BACK_ENDS, Place, eventually, open_place
from tests.services.queue_worker import worker_process
from tests.services.redis_server import start_redis

#: 20,000 for the long run before a release.
TASKS = int(os.environ.get("QUEUE_CRASH_TASKS", "1500"))
#: What the back ends here do at the least in a second, two workers being killed again and again.
SLOWEST = 25


@pytest.fixture(params=BACK_ENDS)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Place[SystemClock]]:
    async with open_place(request, str(request.param), tmp_path, SystemClock()) as opened:
        yield opened


def begun(log: Path) -> list[tuple[str, str]]:
    """Return task and worker of each start of a handler, in order."""
    if not log.exists():
        return []
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(line[0], line[2]) for line in lines if len(line) == 3]


async def check_all_ended_once(queue: TaskQueue, ids: list[str], log: Path) -> None:
    stats = await queue.stats()
    counts = {status: count for status, count in stats.by_status.items() if count}
    assert counts == {TaskStatus.COMPLETED: len(ids)}
    started = Counter(task_id for task_id, _ in begun(log))
    assert set(started) == set(ids)
    for task_id in random.Random(1).sample(ids, 50):
        assert (await queue.get_task(task_id)).status is TaskStatus.COMPLETED


@pytest.mark.timeout(180 + TASKS / SLOWEST)
async def test_workers_killed_at_random_lose_nothing(
    place: Place[SystemClock], tmp_path: Path
) -> None:
    chance, log = random.Random(7), tmp_path / "runs.log"
    config = place.config(lease_seconds=1.0, max_retries=50, poll_seconds=0.05)
    queue = await place.queue(**config.model_dump())
    ids = [task.task_id for task in await queue.add_tasks([NewTask("quick", {})] * TASKS)]
    with ExitStack() as processes:

        def start(number: int) -> "subprocess.Popen[bytes]":
            return processes.enter_context(
                worker_process(config, place.database_url, log, f"w{number}")
            )

        workers = [start(number) for number in range(3)]
        for number in range(3, 9):
            so_far = len(begun(log))

            async def has_moved(beyond: int = so_far) -> bool:
                return len(begun(log)) > min(
                    beyond + chance.randrange(TASKS // 75, TASKS // 10), TASKS - 1
                )

            await eventually(has_moved, seconds=60)
            victim = workers.pop(chance.randrange(len(workers)))
            victim.kill()
            workers.append(start(number))

        async def all_done() -> bool:
            return (await queue.stats()).by_status[TaskStatus.COMPLETED] == TASKS

        await eventually(all_done, seconds=60 + TASKS / SLOWEST)
    await check_all_ended_once(queue, ids, log)


async def stop_between_writes(
    process: "subprocess.Popen[bytes]", place: Place[SystemClock]
) -> None:
    """Stop a process while it writes nothing: SQLite's one write lock would stop with it."""

    async def is_stopped_without_the_lock() -> bool:
        process.send_signal(signal.SIGSTOP)
        if place.database is None or not place.database.is_sqlite:
            return True
        probe = sqlite3.connect(str(place.database.engine.url.database), timeout=0.2)
        try:
            probe.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            return False
        finally:
            probe.close()
        return True

    await eventually(is_stopped_without_the_lock, seconds=30)


async def test_a_stopped_worker_is_fenced_when_it_goes_on(
    place: Place[SystemClock], tmp_path: Path
) -> None:
    log = tmp_path / "runs.log"
    config = place.config(lease_seconds=2.0, poll_seconds=0.05)
    queue = await place.queue(**config.model_dump())
    with worker_process(config, place.database_url, log, "first") as first:

        async def is_known() -> bool:
            return len((await queue.stats()).workers) == 1

        async def is_begun() -> bool:
            return len(begun(log)) == 1

        await eventually(is_known, seconds=30)
        added = await queue.add_task("slow", {})
        await eventually(is_begun, seconds=30)
        await stop_between_writes(first, place)
        with worker_process(config, place.database_url, log, "second"):
            done = await queue.wait_for(added.task_id, 30)
            assert (done.status, done.result, done.attempt) == (TaskStatus.COMPLETED, "second", 2)
            first.send_signal(signal.SIGCONT)
            later = await queue.add_tasks([NewTask("slow", {}) for _ in range(30)])

            async def first_works_again() -> bool:
                return "first" in {name for _, name in begun(log)[2:]}

            await eventually(first_works_again, seconds=30)  # so it has tried to record the first
            for task in later:
                await queue.wait_for(task.task_id, 30)
    again = await queue.get_task(added.task_id)
    assert (again.result, again.finished_at) == ("second", done.finished_at)
    assert "taken over" in log.with_suffix(".errors").read_text()


async def test_a_dead_workers_task_runs_elsewhere_within_the_lease_and_a_quarter(
    place: Place[SystemClock], tmp_path: Path
) -> None:
    log, lease = tmp_path / "runs.log", 4.0
    config = place.config(lease_seconds=lease, poll_seconds=0.05)
    queue = await place.queue(**config.model_dump())

    async def both_live() -> bool:
        return len((await queue.stats()).workers) == 2

    with (
        worker_process(config, place.database_url, log, "a") as a,
        worker_process(config, place.database_url, log, "b") as b,
    ):
        await eventually(both_live, seconds=30)
        await queue.add_task("block", {})

        async def runs(times: int) -> bool:
            return len(begun(log)) == times

        await eventually(lambda: runs(1), seconds=10)
        victim = a if begun(log)[0][1] == "a" else b
        victim.kill()
        before = anyio.current_time()
        await eventually(lambda: runs(2), seconds=lease * 2)
        assert anyio.current_time() - before <= lease * 1.25


async def test_a_blocking_handler_of_twelve_seconds_runs_once_under_a_lease_of_five(
    place: Place[SystemClock], tmp_path: Path
) -> None:
    log = tmp_path / "runs.log"
    config = place.config(lease_seconds=5.0, poll_seconds=0.05)
    queue = await place.queue(**config.model_dump())
    added = await queue.add_task("block", {})
    with (
        worker_process(config, place.database_url, log, "a"),
        worker_process(config, place.database_url, log, "b"),
    ):
        done = await queue.wait_for(added.task_id, 40)
        assert (done.status, done.attempt, len(begun(log))) == (TaskStatus.COMPLETED, 1, 1)


async def test_redis_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    folder, log = tmp_path / "redis", tmp_path / "runs.log"
    folder.mkdir()
    server = require(lambda: start_redis(folder))
    config = TaskQueueConfig(redis_url=server.url, lease_seconds=1.0, max_retries=50)
    try:
        async with TaskQueue(config) as queue:
            ids = [task.task_id for task in await queue.add_tasks([NewTask("quick", {})] * TASKS)]
            with worker_process(config, None, log, "a"), worker_process(config, None, log, "b"):
                for share in (4, 2):

                    async def has_moved(beyond: int = TASKS // share) -> bool:
                        return len(begun(log)) > beyond

                    await eventually(has_moved, seconds=60)
                    server.process.kill()
                    server.process.wait()
                    server = start_redis(folder, port=server.port)

                async def all_done() -> bool:
                    return (await queue.stats()).by_status[TaskStatus.COMPLETED] == TASKS

                await eventually(all_done, seconds=60 + TASKS / SLOWEST)
            await check_all_ended_once(queue, ids, log)
    finally:
        server.stop()
