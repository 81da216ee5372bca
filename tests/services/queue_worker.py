"""A worker as a process of its own, for tests that kill it: run with one JSON argument."""

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
from pydantic import JsonValue

from mcp_orchestrator.queue import TaskContext, TaskQueue, TaskQueueConfig, Worker
from mcp_orchestrator.store.engine import open_engine

Payload = dict[str, JsonValue]


def _note(file: str, line: str) -> None:
    with Path(file).open("a") as log:
        log.write(line + "\n")


async def _work(config: TaskQueueConfig, database_url: str | None, log: str, name: str) -> None:
    async def quick(payload: Payload, context: TaskContext) -> JsonValue:
        _note(log, f"{context.task_id} {context.attempt} {name}")
        await anyio.sleep(0.002)
        return name

    async def slow(payload: Payload, context: TaskContext) -> JsonValue:
        _note(log, f"{context.task_id} {context.attempt} {name}")
        await anyio.sleep(1.0)
        return name

    async def block(payload: Payload, context: TaskContext) -> JsonValue:
        _note(log, f"{context.task_id} {context.attempt} {name}")
        time.sleep(12)  # noqa: ASYNC251 - a handler that blocks the event loop is the point
        return name

    database = open_engine(database_url) if database_url else None
    async with TaskQueue(config, database=database) as queue:
        handlers = {"quick": quick, "slow": slow, "block": block}
        await Worker(queue, handlers, concurrency=20, worker_id=name).run()


@contextmanager
def worker_process(
    config: TaskQueueConfig, database_url: str | None, log: Path, name: str
) -> Generator["subprocess.Popen[bytes]"]:
    """Start a worker in a process of its own; kill it at the end if it still runs."""
    argument = json.dumps(
        {
            "config": config.model_dump(),
            "database_url": database_url,
            "log": str(log),
            "name": name,
        }
    )
    errors = log.with_suffix(".errors").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.services.queue_worker", argument],
        stdout=errors,
        stderr=errors,
        cwd=Path(__file__).parents[2],
    )
    errors.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    anyio.run(
        _work,
        TaskQueueConfig.model_validate(given["config"]),
        given["database_url"],
        given["log"],
        given["name"],
    )
