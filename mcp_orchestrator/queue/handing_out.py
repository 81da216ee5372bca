"""Handing out: what a process asks the back end for, and the leases of what it gets."""

from collections.abc import Collection
from datetime import timedelta

import anyio

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.queue.config import TaskQueueConfig
from mcp_orchestrator.queue.lease import Delivery
from mcp_orchestrator.queue.lease_keeper import LeaseKeeper
from mcp_orchestrator.queue.metrics import QueueMetrics
from mcp_orchestrator.queue.port import QueueBackend, TakeRequest
from mcp_orchestrator.queue.task import TaskPriority

#: How long an idle worker waits before it looks for tasks of the dead: leases, at most seconds.
_LOOK_AROUND_LEASES, _LONGEST_LOOK_AROUND = 0.1, 1.0


class HandingOut:
    """Where one process gets its tasks; it keeps account of the share of the lower priorities.

    Args:
        backend: where tasks are.
        config: the queue's settings.
        leases: who renews what was taken.
        clock: the source of time.
        metrics: where to count.
    """

    def __init__(
        self,
        backend: QueueBackend,
        config: TaskQueueConfig,
        leases: LeaseKeeper,
        clock: Clock,
        metrics: QueueMetrics | None,
    ) -> None:
        self._backend = backend
        self._config = config
        self._leases = leases
        self._clock = clock
        self._metrics = metrics
        self._fair_credit = 0

    async def take(
        self,
        worker_id: str,
        count: int,
        task_types: Collection[str] | None = None,
        least_priority: TaskPriority = TaskPriority.LOW,
    ) -> list[Delivery]:
        """Lease up to ``count`` ready tasks; nothing ready, none given."""
        return await self._take(self._request(worker_id, count, task_types, least_priority))

    async def next_deliveries(
        self, worker_id: str, count: int, task_types: Collection[str] | None = None
    ) -> list[Delivery]:
        """Lease up to ``count`` tasks, waiting until at least one is ready."""
        look_around = min(self._config.lease_seconds * _LOOK_AROUND_LEASES, _LONGEST_LOOK_AROUND)
        while True:
            request = self._request(worker_id, count, task_types, TaskPriority.LOW)
            if deliveries := await self._take(request):
                return deliveries
            await self._backend.wait_for_work(request, look_around)

    def _request(
        self, worker_id: str, count: int, task_types: Collection[str] | None, least: TaskPriority
    ) -> TakeRequest:
        share = self._config.fair_share if least is TaskPriority.LOW else 0
        count = min(count, self._config.batch_size)
        fair_slots = min((self._fair_credit + count) // share, count) if share else 0
        now = self._clock.now()
        until = now + timedelta(seconds=self._config.lease_seconds)
        return TakeRequest(worker_id, count, task_types, fair_slots, now, until, least)

    async def _take(self, request: TakeRequest) -> list[Delivery]:
        self._leases.start()
        deliveries: list[Delivery] = []
        with anyio.CancelScope(shield=True):  # what was leased must not be lost on the way here
            deliveries = await self._backend.take(request)
        if deliveries:
            spent = request.fair_slots * self._config.fair_share
            self._fair_credit = max(self._fair_credit + len(deliveries) - spent, 0)
            self._leases.hold(delivery.lease for delivery in deliveries)
        if self._metrics is not None:
            self._metrics.taken(deliveries)
        return deliveries
