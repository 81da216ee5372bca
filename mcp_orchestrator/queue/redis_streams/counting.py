"""The queue's numbers, from what ``stats.lua`` returns; limits as the scripts read them."""

import json
from datetime import datetime
from typing import Any

from mcp_orchestrator.queue.encoding import from_micros
from mcp_orchestrator.queue.limit import LimitStats, Rate, TypeLimit
from mcp_orchestrator.queue.port import PriorityStats, QueueStats, alive_since
from mcp_orchestrator.queue.redis_streams.records import pairs, worker_from_text
from mcp_orchestrator.queue.task import TaskPriority, TaskStatus


def limit_text(limit: TypeLimit) -> str:
    """Return a limit as the scripts read it: concurrency, starts, span in microseconds."""
    if limit.is_unbounded:
        return ""
    rate = limit.rate
    numbers = (limit.concurrency, rate and rate.starts, rate and round(rate.seconds * 1e6))
    return " ".join("-" if number is None else str(number) for number in numbers)


def _limit(text: str) -> TypeLimit:
    concurrency, starts, span = (None if word == "-" else int(word) for word in text.split())
    rate = None if starts is None or span is None else Rate(starts, span / 1e6)
    return TypeLimit(concurrency, rate)


def stats_from_text(text: str, now: datetime, lease_seconds: float) -> QueueStats:
    """Return the queue's numbers."""
    data: dict[str, Any] = json.loads(text)
    by_priority: dict[TaskPriority, PriorityStats] = {}
    for priority, waiting, oldest in data["by_priority"]:
        age = None
        if oldest:
            age = max((now - from_micros(int(oldest))).total_seconds(), 0.0)
        by_priority[TaskPriority(int(priority))] = PriorityStats(waiting, age)
    by_status = dict.fromkeys(TaskStatus, 0)
    for status, count in pairs(data["finished"] or []).items():
        by_status[TaskStatus(status)] = int(count)
    by_status[TaskStatus.PENDING] = sum(one.waiting for one in by_priority.values())
    by_status[TaskStatus.SCHEDULED] = data["scheduled"]
    by_status[TaskStatus.PROCESSING] = data["processing"]
    since = alive_since(now, lease_seconds)
    heartbeats: list[str] = list(data["workers"])  # Lua's empty table is an object in JSON
    workers = [worker_from_text(text) for text in heartbeats]
    names: list[str] = sorted(data["paused"])
    paused = [(name.partition(":")[0], name.partition(":")[2]) for name in names]
    return QueueStats(
        "redis",
        by_priority,
        by_status,
        tuple(
            sorted(
                (worker for worker in workers if worker.seen_at >= since),
                key=lambda worker: worker.worker_id,
            )
        ),
        tuple(name for kind, name in paused if kind == "type"),
        tuple(TaskPriority(int(name)) for kind, name in paused if kind == "priority"),
        tuple(
            LimitStats(name, _limit(text), running, started)
            for name, text, running, started in sorted(data["limits"])
        ),
    )
