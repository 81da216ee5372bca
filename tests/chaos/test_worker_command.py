"""`mcp-orchestrator worker --workers N`: real processes, killed and asked to stop."""

import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcp_orchestrator.queue import NewTask, TaskQueue, TaskQueueConfig, TaskStatus
from tests.services.orchestrator import command, environment
from tests.services.process import stop_process
from tests.services.queue_place import eventually
from tests.services.redis_server import RedisServer

TASKS = 100
PACK = """
import anyio
from mcp_orchestrator.packs import Pack, TaskContext
pack = Pack("slow", description="Takes its time.")

@pack.handler()
async def nap(seconds: float, task: TaskContext) -> str:
    await anyio.sleep(seconds)
    return "rested"
"""


@contextmanager
def workers(
    folder: Path, redis_url: str, *, count: int = 2, **more: str
) -> Generator["subprocess.Popen[bytes]"]:
    (folder / "packs").mkdir()
    (folder / "packs" / "slow.py").write_text(PACK)
    settings = {
        "REDIS_URL": redis_url,
        "MCP_ORCHESTRATOR_PACKS": str(folder / "packs"),
        "MCP_ORCHESTRATOR_TASK_LEASE_SECONDS": "2",
        "MCP_ORCHESTRATOR_GRACE_SECONDS": "0.5",
        "MCP_ORCHESTRATOR_SANDBOX_WARM": "0",
        **more,
    }
    with (folder / "workers.log").open("wb") as log:
        process = subprocess.Popen(
            command("worker", "--workers", str(count), "--concurrency", "5", "--types", "slow.*"),
            env=environment(folder, **settings), cwd=folder, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        stop_process(process, patience=15)


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


async def process_ids(queue: TaskQueue) -> set[int]:
    live = (await queue.stats()).workers
    return {worker.process_id for worker in live if is_alive(worker.process_id)}


async def test_workers_that_die_are_replaced_and_stop_when_asked(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    url = redis_server.url.replace("/0", "/7")
    async with TaskQueue(TaskQueueConfig(redis_url=url, lease_seconds=2)) as queue:
        with workers(tmp_path, url) as supervisor:

            async def two_live() -> bool:
                return len(await process_ids(queue)) == 2

            await eventually(two_live, seconds=40)
            await queue.add_tasks([NewTask("slow.nap", {"seconds": 0.2}, max_retries=9)] * TASKS)
            first = await process_ids(queue)
            os.kill(min(first), signal.SIGKILL)

            async def replaced() -> bool:
                now = await process_ids(queue)
                return len(now) == 2 and min(first) not in now

            await eventually(replaced, seconds=40)

            async def all_done() -> bool:
                return (await queue.stats()).by_status[TaskStatus.COMPLETED] == TASKS

            await eventually(all_done, seconds=40)
            long = await queue.add_task("slow.nap", {"seconds": 60})
            foreign = await queue.add_task("other.type", {})

            async def begun() -> bool:
                return (await queue.get_task(long.task_id)).status is TaskStatus.PROCESSING

            await eventually(begun)
            live = await process_ids(queue)
            supervisor.send_signal(signal.SIGTERM)
            assert supervisor.wait(15) == 0
            assert not any(is_alive(process_id) for process_id in live)
        assert (await queue.get_task(long.task_id)).status is TaskStatus.PENDING  # handed back
        assert (await queue.get_task(long.task_id)).attempt == 0
        assert (await queue.get_task(foreign.task_id)).status is TaskStatus.PENDING


async def test_workers_stop_when_their_supervisor_is_killed(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    url = redis_server.url.replace("/0", "/8")
    async with TaskQueue(TaskQueueConfig(redis_url=url, lease_seconds=2)) as queue:
        with workers(tmp_path, url) as supervisor:

            async def two_live() -> bool:
                return len(await process_ids(queue)) == 2

            await eventually(two_live, seconds=40)
            live = await process_ids(queue)
            supervisor.kill()

            async def ended() -> bool:
                return not any(is_alive(process_id) for process_id in live)

            await eventually(ended, seconds=15)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_does_not_wait(
    count: int, asked: signal.Signals, tmp_path: Path, redis_server: RedisServer
) -> None:
    url = redis_server.url.replace("/0", f"/{9 + count + (asked is signal.SIGINT) * 2}")
    async with TaskQueue(TaskQueueConfig(redis_url=url, lease_seconds=2)) as queue:
        long = await queue.add_task("slow.nap", {"seconds": 600})
        patient = {"MCP_ORCHESTRATOR_WORKER_GRACE_SECONDS": "600"}
        with workers(tmp_path, url, count=count, **patient) as process:

            async def begun() -> bool:
                return (await queue.get_task(long.task_id)).status is TaskStatus.PROCESSING

            await eventually(begun, seconds=60)
            live = await process_ids(queue)
            process.send_signal(asked)

            async def has_heard() -> bool:
                return b"a second signal does not wait" in (tmp_path / "workers.log").read_bytes()

            await eventually(has_heard, seconds=30)
            assert process.poll() is None  # it waits for the task
            process.send_signal(asked)
            process.wait(60)

            async def ended() -> bool:
                return not any(is_alive(process_id) for process_id in live)

            await eventually(ended, seconds=30)
        assert (await queue.get_task(long.task_id)).status is TaskStatus.PROCESSING
