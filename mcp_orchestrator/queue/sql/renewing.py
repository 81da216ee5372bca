"""Heartbeats: leases extended and workers recorded, over an engine of the thread's own."""

from datetime import datetime

from sqlalchemy import delete, insert, select, update

from mcp_orchestrator.queue.lease import Lease
from mcp_orchestrator.queue.port import Heartbeat, HeartbeatReply
from mcp_orchestrator.queue.sql.rows import row_from_worker
from mcp_orchestrator.queue.task import TaskStatus
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.tasks import task_workers, tasks


class SqlRenewer:
    """Renews leases; lives in the renewal thread."""

    def __init__(self, database: Database, queue: str) -> None:
        self._database = database
        self._queue = queue

    async def renew(self, heartbeat: Heartbeat) -> HeartbeatReply:
        """Extend the leases that are still held."""
        ours = set(heartbeat.leases)
        ids = sorted({lease.task_id for lease in ours})
        state = select(tasks.c.task_id, tasks.c.epoch, tasks.c.cancel_requested).where(
            tasks.c.task_id.in_(ids), tasks.c.status == TaskStatus.PROCESSING.value
        )
        async with self._database.write() as connection:
            found = (await connection.execute(state)).mappings()
            held = {Lease(row["task_id"], row["epoch"]): row["cancel_requested"] for row in found}
            # a row that another transaction has locked is being settled, and must not hold us up
            free = state.with_for_update(skip_locked=True)
            rows = (await connection.execute(free)).mappings().all()
            renewed = [
                row["task_id"] for row in rows if Lease(row["task_id"], row["epoch"]) in ours
            ]
            await connection.execute(
                update(tasks)
                .where(tasks.c.task_id.in_(renewed))
                .values(lease_until=heartbeat.lease_until)
            )
            for worker in heartbeat.workers:
                where = task_workers.c.worker_id == worker.worker_id
                await connection.execute(delete(task_workers).where(where))
                await connection.execute(insert(task_workers), row_from_worker(worker, self._queue))
        return HeartbeatReply(
            tuple(lease for lease in heartbeat.leases if lease not in held),
            tuple(lease for lease in heartbeat.leases if held.get(lease)),
        )

    async def forget(self, worker_id: str, seen_before: datetime) -> None:
        """Remove a worker that has stopped, and those that have long been silent."""
        async with self._database.write() as connection:
            await connection.execute(
                delete(task_workers).where(
                    task_workers.c.queue == self._queue,
                    (task_workers.c.worker_id == worker_id)
                    | (task_workers.c.seen_at < seen_before),
                )
            )
