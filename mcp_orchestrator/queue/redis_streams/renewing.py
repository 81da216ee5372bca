"""Heartbeats: leases extended and workers recorded, over a connection of the thread's own."""

from datetime import datetime

from mcp_orchestrator.queue.encoding import to_micros
from mcp_orchestrator.queue.port import Heartbeat, HeartbeatReply
from mcp_orchestrator.queue.redis_streams.connection import RedisConnection
from mcp_orchestrator.queue.redis_streams.records import worker_text

#: Leases in one call of the script; Lua's own bound on arguments is near 8,000.
_LARGEST_BEAT = 1000
_LOST, _CANCELLED = 0, 2


class RedisRenewer:
    """Renews leases; lives in the renewal thread."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def renew(self, heartbeat: Heartbeat) -> HeartbeatReply:
        """Extend the leases that are still held."""
        head: list[str | int] = [to_micros(heartbeat.lease_until), len(heartbeat.workers)]
        for worker in heartbeat.workers:
            head += [worker.worker_id, worker_text(worker)]
        outcomes: list[int] = []
        for start in range(0, max(len(heartbeat.leases), 1), _LARGEST_BEAT):
            arguments = list(head)
            for lease in heartbeat.leases[start : start + _LARGEST_BEAT]:
                arguments += [lease.task_id, lease.epoch]
            outcomes += await self._connection.script("renew", arguments)
        answered = list(zip(heartbeat.leases, outcomes, strict=True))
        return HeartbeatReply(
            tuple(lease for lease, outcome in answered if outcome == _LOST),
            tuple(lease for lease, outcome in answered if outcome == _CANCELLED),
        )

    async def forget(self, worker_id: str, seen_before: datetime) -> None:
        """Remove a worker that has stopped, and those that have long been silent."""
        await self._connection.script("forget_workers", [worker_id, to_micros(seen_before)])
