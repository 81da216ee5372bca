"""One delivery in the hands of a worker."""

from dataclasses import dataclass

import anyio

from mcp_orchestrator.queue.lease import Delivery
from mcp_orchestrator.queue.task import TaskPriority


@dataclass(eq=False, slots=True)
class Run:
    """A delivery that waits for a slot, is being handled, or waits to be recorded.

    Attributes:
        delivery: what was handed out.
        scope: the scope of its handler, only while that runs.
        lost: somebody else has taken the task over.
        preempted: it gives way to a more urgent task.
        cancelled: somebody asked for the task's cancellation.
    """

    delivery: Delivery
    scope: anyio.CancelScope | None = None
    lost: bool = False
    preempted: bool = False
    cancelled: bool = False

    @property
    def can_be_preempted(self) -> bool:
        """Whether it runs, and may give way to a CRITICAL task."""
        task = self.delivery.task
        may = task.preemptible and task.priority < TaskPriority.CRITICAL
        return may and self.scope is not None and not self.preempted

    @property
    def is_to_stop(self) -> bool:
        """Whether there is a reason not to begin, or not to go on."""
        return self.lost or self.preempted or self.cancelled

    @property
    def worth(self) -> tuple[int, float]:
        """What its loss costs: the least urgent is worth least, then the youngest."""
        started = self.delivery.task.started_at
        return self.delivery.task.priority, -(started.timestamp() if started else 0.0)

    def stop_for_cancel(self) -> None:
        """Stop the handler, because the task is to be cancelled."""
        self.cancelled = True
        self._stop()

    def preempt(self) -> None:
        """Stop the handler, because a more urgent task needs its slot."""
        self.preempted = True
        self._stop()

    def stop_for_loss(self) -> None:
        """Stop the handler, because its outcome would be refused."""
        self.lost = True
        self._stop()

    def _stop(self) -> None:
        if self.scope is not None:
            self.scope.cancel()
