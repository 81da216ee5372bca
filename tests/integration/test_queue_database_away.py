"""A worker outlives its database: connections break, and new ones are refused for a while."""

import subprocess
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import BackendUnavailableError
from mcp_orchestrator.queue import TaskContext, TaskStatus, Worker
from tests.services.postgres_server import PostgresServer
from tests.services.queue_place import open_place

Payload = dict[str, JsonValue]


def say(server: PostgresServer, *statements: str) -> None:
    commands = [word for statement in statements for word in ("-c", statement)]
    subprocess.run(
        [f"{server.binaries}/psql", "-qX", server.url(), *commands],
        check=True, capture_output=True,
    )  # fmt: skip


async def test_a_worker_outlives_a_database_that_is_away(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    begun = anyio.Event()

    async def wait(payload: Payload, context: TaskContext) -> JsonValue:
        begun.set()
        await anyio.sleep_forever()

    async def echo(payload: Payload, context: TaskContext) -> JsonValue:
        return payload

    async with open_place(request, "postgresql", tmp_path, SystemClock()) as place:
        queue = await place.queue(poll_seconds=0.02)
        name = (place.database_url or "").rpartition("/")[2]
        async with anyio.create_task_group() as group:
            group.start_soon(Worker(queue, {"wait": wait, "echo": echo}).run)
            waiting = await queue.add_task("wait", {})
            await begun.wait()
            say(
                postgres_server,
                f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            )
            with pytest.raises(BackendUnavailableError):
                await queue.ping()
            with pytest.raises(BackendUnavailableError):
                await queue.get_task(waiting.task_id)
            with pytest.raises(BackendUnavailableError):
                await queue.add_task("echo", {})
            say(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            added = await queue.add_task("echo", {"n": 1})
            assert (await queue.wait_for(added.task_id, 20)).result == {"n": 1}
            await queue.cancel_task(waiting.task_id)
            assert (await queue.wait_for(waiting.task_id, 20)).status is TaskStatus.CANCELLED
            group.cancel_scope.cancel()
