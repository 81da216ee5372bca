"""mcp-orchestrator: four priorities, leases, fencing, retries, results; ``sqlite:`` for SQL."""

import contextlib
from pathlib import Path

from contest import CONCURRENCY, Contestant, Handle, main
from pydantic import JsonValue

from mcp_orchestrator.queue import NewTask, TaskContext, TaskQueue, TaskQueueConfig, Worker
from mcp_orchestrator.store.engine import Database, open_engine, sqlite_url
from mcp_orchestrator.store.migrations import migrate


class Ours(Contestant):
    database: Database | None = None

    async def open(self) -> None:
        redis_url: str | None = self.url
        if self.url.startswith("sqlite:"):
            redis_url = None
            self.database = open_engine(sqlite_url(Path(self.url.removeprefix("sqlite:"))))
            await migrate(self.database)
        self.queue = TaskQueue(TaskQueueConfig(redis_url=redis_url), database=self.database)
        await self.queue.connect()

    async def add(self, payload: int) -> None:
        await self.queue.add_task("noop", {"sent": payload})

    async def add_batch(self, payloads: list[int]) -> None:
        await self.queue.add_tasks([NewTask("noop", {"sent": payload}) for payload in payloads])

    async def work(self, handle: Handle) -> None:
        async def noop(payload: dict[str, JsonValue], context: TaskContext) -> JsonValue:
            sent = payload["sent"]
            handle(sent if isinstance(sent, int) else 0)
            return None

        worker = Worker(self.queue, {"noop": noop}, concurrency=CONCURRENCY, grace_seconds=0.1)
        await worker.run()

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            await self.queue.close()
        if self.database is not None:
            await self.database.close()


if __name__ == "__main__":
    main(Ours)
