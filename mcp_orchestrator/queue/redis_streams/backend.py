"""The Redis back end: each transition is one script."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from redis.exceptions import ResponseError

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import StaleLeaseError
from mcp_orchestrator.queue.coalesce import Coalescer
from mcp_orchestrator.queue.config import TaskQueueConfig
from mcp_orchestrator.queue.encoding import encode_event, encode_progress, to_micros
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.limit import TypeLimit
from mcp_orchestrator.queue.port import (
    NewEntry,
    QueueStats,
    Settlement,
    TakeRequest,
    TaskFilter,
    queue_full,
    stale_lease,
)
from mcp_orchestrator.queue.redis_streams.awaiting import EndedTasks
from mcp_orchestrator.queue.redis_streams.connection import RedisConnection
from mcp_orchestrator.queue.redis_streams.counting import limit_text, stats_from_text
from mcp_orchestrator.queue.redis_streams.records import (
    add_arguments,
    compact,
    deliveries,
    task_from_record,
)
from mcp_orchestrator.queue.redis_streams.renewing import RedisRenewer
from mcp_orchestrator.queue.redis_streams.settling import settle_calls
from mcp_orchestrator.queue.task import Task, TaskEvent, TaskProgress

#: Tasks in one call of ``add.lua``, which keeps Redis busy for some 10 µs each.
_LARGEST_ADD = 1000
#: One blocking read, in seconds; shorter than the socket's time-out.
_LONGEST_READ = 5.0
#: Redis takes shorter time-outs for "no wait", or for ever.
_SHORTEST_READ = 0.01


class RedisBackend:
    """Tasks in Redis.

    Args:
        config: the queue's settings; ``redis_url`` must be set.
        clock: the source of time; every process's clock must agree to well within a lease.
    """

    def __init__(self, config: TaskQueueConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._root = f"{{mcp-orchestrator:{config.consumer_group}}}"
        self._url = config.redis_url or ""
        self._connection = RedisConnection(self._url, self._root)
        self._ended = EndedTasks(self._connection, self._root)
        self._next_due: int | None = None
        self._more = False
        self._adding = Coalescer[NewEntry, Task](
            self._add_group, largest_group=config.batch_size, lone_first=True
        )

    async def open(self) -> None:
        """Find out whether Redis answers."""
        await self.ping()

    async def close(self) -> None:
        """Close every connection."""
        await self._ended.close()
        await self._connection.close()

    async def ping(self) -> str:
        """Return the server's name and version."""
        info: dict[str, Any] = await self._connection.command("INFO", "server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info.get('redis_version', '(unknown version)')}"

    async def add(self, entries: Sequence[NewEntry]) -> list[Task]:
        """Store tasks; all or none of each 1,000."""
        if self._config.max_length is None and len(entries) == 1:
            return [await self._adding.submit(entries[0])]
        added: list[Task] = []
        for start in range(0, len(entries), _LARGEST_ADD):
            added += await self._add_group(entries[start : start + _LARGEST_ADD])
        return added

    async def take(self, request: TakeRequest) -> list[Delivery]:
        """Lease ready tasks."""
        dead = to_micros(request.now) + int(self._config.dead_retention_seconds * 1e6)
        arguments: list[str | int] = [
            to_micros(request.now),
            to_micros(request.lease_until),
            dead,
            compact(request.worker_id),
            request.count,
            request.fair_slots,
            int(request.least_priority),
            *sorted(request.task_types or ()),
        ]
        text, due, more = await self._connection.script("take", arguments)
        self._next_due = int(float(due)) if due else None
        self._more = bool(more)
        return deliveries(text, request)

    async def wait_for_work(self, request: TakeRequest, timeout: float) -> None:
        """Wait for a bell of one of the types, or for the next delayed task or ending lease."""
        if self._more:
            return
        bound = min(timeout, _LONGEST_READ)
        if self._next_due is not None:
            bound = min(bound, (self._next_due - to_micros(self._clock.now())) / 1e6)
        if bound <= 0:
            return
        bells = [f"{self._root}:bell:{name}" for name in sorted(request.task_types or ())]
        seconds = max(bound, _SHORTEST_READ)
        await self._connection.wait("BLPOP", *(bells or [f"{self._root}:bells"]), seconds)

    async def settle(self, settlements: Sequence[Settlement]) -> list[StaleLeaseError | None]:
        """Record how deliveries ended: results by one script, other ends by another."""
        refusals: list[StaleLeaseError | None] = [None] * len(settlements)
        for script, arguments, places in settle_calls(settlements):
            late: list[int] = await self._connection.script(script, arguments)
            for place in late:
                refusals[places[place]] = stale_lease(settlements[places[place]].lease)
        return refusals

    async def record_progress(self, lease: Lease, progress: TaskProgress) -> None:
        """Keep what the handler said last."""
        arguments = [lease.task_id, lease.epoch, compact(encode_progress(progress))]
        if not await self._connection.script("progress", arguments):
            raise stale_lease(lease)

    async def cancel(self, task_id: str, event: TaskEvent, expires_at: datetime) -> None:
        """End a waiting task; tell the worker of a running one."""
        await self._connection.script(
            "cancel",
            [task_id, to_micros(event.at), to_micros(expires_at), compact(encode_event(event))],
        )

    async def watch_cancels(
        self, worker_id: str, running: Callable[[], Collection[str]], cancel: Callable[[str], None]
    ) -> None:
        """Read what is pushed for this worker."""
        key = f"{self._root}:control:{compact(worker_id)}"
        while True:
            reply = await self._connection.wait("BLPOP", key, _LONGEST_READ)
            if reply and reply[1] in running():
                cancel(reply[1])

    async def get(self, task_id: str) -> Task | None:
        """Return one task."""
        return task_from_record(await self._connection.script("get", [task_id]))

    async def wait_until_final(self, task_id: str, timeout: float) -> None:
        """Wait for the script that ends the task to say so."""
        await self._ended.wait(task_id, timeout)

    async def list_tasks(self, task_filter: TaskFilter) -> list[Task]:
        """Return tasks, newest first."""
        arguments: list[str | int] = [
            task_filter.status or "",
            task_filter.task_type or "",
            "" if task_filter.owner is None else compact(task_filter.owner),
            task_filter.before or "",
            task_filter.limit,
        ]
        found: list[list[Any]] = await self._connection.script("list", arguments)
        return [task for record in found if (task := task_from_record(record))]

    async def stats(self, now: datetime) -> QueueStats:
        """Count."""
        text: str = await self._connection.script("stats", [to_micros(now)])
        return stats_from_text(text, now, self._config.lease_seconds)

    async def requeue(self, task_id: str, event: TaskEvent, now: datetime) -> bool:
        """Give a dead letter or failed task all its attempts again."""
        arguments = [task_id, to_micros(now), compact(encode_event(event))]
        return bool(await self._connection.script("requeue", arguments))

    async def purge_dead(self, task_type: str | None) -> int:
        """Forget dead letters."""
        purged: int = await self._connection.script("purge", [task_type or ""])
        return purged

    async def set_paused(self, kind: str, name: str, *, paused: bool) -> None:
        """Stop or go on handing out one type or one priority."""
        await self._connection.script("pause", [f"{kind}:{name}", int(paused)])

    async def limit_type(self, task_type: str, limit: TypeLimit) -> None:
        """Bound how many tasks of a type run at once and start in a span, over all workers."""
        await self._connection.script("limit", [task_type, limit_text(limit)])

    @asynccontextmanager
    async def renewer(self) -> AsyncGenerator[RedisRenewer]:
        """Open a second client, because connections belong to the event loop that made them."""
        connection = RedisConnection(self._url, self._root)
        try:
            yield RedisRenewer(connection)
        finally:
            await connection.close()

    async def _add_group(self, entries: Sequence[NewEntry]) -> list[Task]:
        arguments = [self._config.max_length or 0, len(entries), *add_arguments(entries)]
        try:
            holders: list[str] = await self._connection.script("add", arguments)
        except ResponseError as error:
            raise queue_full(self._config.max_length or 0) from error
        if not holders:
            return [entry.task for entry in entries]
        return [
            await self._holder(holder, entry.task) if holder else entry.task
            for holder, entry in zip(holders, entries, strict=True)
        ]

    async def _holder(self, holder_id: str, task: Task) -> Task:
        """Return the task that has the key already."""
        return await self.get(holder_id) or task
