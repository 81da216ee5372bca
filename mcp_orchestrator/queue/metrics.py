"""The queue's numbers for Prometheus: what this process did, and how the whole queue stands.

Counters and histograms are of this process, to be added up over processes by Prometheus. The gauges
are of the whole queue, so every process shows the same.
"""

from collections import OrderedDict
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mcp_orchestrator.queue.lease import Delivery
from mcp_orchestrator.queue.limit import LimitStats
from mcp_orchestrator.queue.port import NewEntry, QueueStats, Settlement
from mcp_orchestrator.queue.task import EventKind, Task, TaskStatus

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
#: Deliveries remembered until they end; those that were lost never do.
_MOST_RUNNING = 100_000
_COUNTED = {
    "added": "Tasks added.",
    "completed": "Tasks whose result was recorded.",
    "failed": "Tasks that no retry would help.",
    "retried": "Failed attempts that are tried again.",
    "recovered": "Tasks taken over from a worker that had died.",
    "dead_lettered": "Tasks that used up their retries.",
    "cancelled": "Tasks that were cancelled.",
    "preempted": "Runs that gave way to a critical task.",
}
_LIMITED = {
    "concurrency": "The most tasks of a limited type that may run at once.",
    "running": "Tasks of a limited type that run.",
    "starts": "The most tasks of a limited type that may start within its span.",
    "started": "Tasks of a limited type that were started within its span.",
}
_BY_STATUS = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.SCHEDULED: "retried",
    TaskStatus.DEAD_LETTER: "dead_lettered",
    TaskStatus.CANCELLED: "cancelled",
}


class QueueMetrics:
    """Counts in a registry of the caller's.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("task_type", "priority")
        self._counters = {
            name: Counter(f"queue_tasks_{name}", text, labels, registry=registry)
            for name, text in _COUNTED.items()
        }
        self._wait = Histogram(
            "queue_wait_seconds", "From when a task could start until it did.",
            labels, buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._run = Histogram(
            "queue_run_seconds", "From the start of an attempt to its recorded end.",
            labels, buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._depth = Gauge("queue_depth", "Tasks that wait.", ("priority",), registry=registry)
        self._oldest = Gauge(
            "queue_oldest_age_seconds", "How long the oldest waiting task has waited.",
            ("priority",), registry=registry,
        )  # fmt: skip
        self._workers = Gauge("queue_workers_alive", "Workers that report.", registry=registry)
        of_type = ("task_type",)
        self._of_limited = {
            name: Gauge(f"queue_limit_{name}", text, of_type, registry=registry)
            for name, text in _LIMITED.items()
        }
        self._running: OrderedDict[str, Task] = OrderedDict()
        self._children: dict[tuple[str, str, str], Counter] = {}

    def added(self, entries: Sequence[NewEntry], tasks: Sequence[Task]) -> None:
        """Count those that were new, not held by an idempotency key."""
        for entry, task in zip(entries, tasks, strict=True):
            if entry.task.task_id == task.task_id:
                self._count("added", task)

    def taken(self, deliveries: Sequence[Delivery]) -> None:
        """Count what was handed out to this process."""
        for delivery in deliveries:
            task = delivery.task
            self._running[delivery.lease.message_id] = task
            if task.history and task.history[-1].kind is EventKind.WORKER_LOST:
                self._count("recovered", task)
            if task.started_at is not None:
                waited = (task.started_at - task.available_at).total_seconds()
                self._wait.labels(task.task_type, task.priority.name).observe(max(waited, 0.0))
        while len(self._running) > _MOST_RUNNING:
            self._running.popitem(last=False)

    def settled(self, settlement: Settlement) -> None:
        """Count how a delivery of this process ended."""
        task = self._running.pop(settlement.lease.message_id, None)
        if task is None:
            return
        if name := _BY_STATUS.get(settlement.status):
            self._count(name, task)
        elif settlement.event is not None and settlement.event.kind is EventKind.PREEMPTED:
            self._count("preempted", task)
        if task.started_at is not None:
            ran = (settlement.at - task.started_at).total_seconds()
            self._run.labels(task.task_type, task.priority.name).observe(max(ran, 0.0))

    def cancelled(self, before: Task, after: Task) -> None:
        """Count a task that was cancelled while it waited."""
        waited = before.status in (TaskStatus.PENDING, TaskStatus.SCHEDULED)
        if waited and after.status is TaskStatus.CANCELLED:
            self._count("cancelled", after)

    def show(self, stats: QueueStats) -> None:
        """Set the gauges of the whole queue."""
        for priority, one in stats.by_priority.items():
            self._depth.labels(priority.name).set(one.waiting)
            self._oldest.labels(priority.name).set(one.oldest_age or 0.0)
        self._workers.set(len(stats.workers))
        for gauge in self._of_limited.values():
            gauge.clear()  # a limit that was lifted is shown no more
        for one in stats.limits:
            self._show_limit(one)

    def _show_limit(self, one: LimitStats) -> None:
        if one.limit.concurrency is not None:
            self._of_limited["concurrency"].labels(one.task_type).set(one.limit.concurrency)
        if one.limit.rate is not None:
            self._of_limited["starts"].labels(one.task_type).set(one.limit.rate.starts)
            self._of_limited["started"].labels(one.task_type).set(one.started)
        self._of_limited["running"].labels(one.task_type).set(one.running)

    def _count(self, name: str, task: Task) -> None:
        key = (name, task.task_type, task.priority.name)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._counters[name].labels(*key[1:])
        child.inc()
