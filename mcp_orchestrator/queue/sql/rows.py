"""Tasks as rows and rows as tasks."""

import json
from typing import Any

from sqlalchemy import RowMapping

from mcp_orchestrator.queue.encoding import (
    decode_history,
    decode_json,
    decode_progress,
)
from mcp_orchestrator.queue.port import NewEntry, WorkerInfo
from mcp_orchestrator.queue.task import Task, TaskPriority, TaskStatus


def row_from_entry(entry: NewEntry, queue: str) -> dict[str, Any]:
    """Return the columns of a new task."""
    task = entry.task
    return {
        "task_id": task.task_id,
        "queue": queue,
        "task_type": task.task_type,
        "payload": entry.payload,
        "priority": int(task.priority),
        "status": task.status.value,
        "attempt": task.attempt,
        "epoch": 0,
        "max_retries": task.max_retries,
        "timeout": task.timeout,
        "idempotency_key": task.idempotency_key,
        "unique_key": entry.unique,
        "owner": task.owner,
        "preemptible": task.preemptible,
        "traceparent": task.traceparent,
        "created_at": task.created_at,
        "available_at": task.available_at,
        "history": [],
    }


def task_from_row(row: RowMapping) -> Task:
    """Return the task of a row of the ``tasks`` table."""
    payload: Any = json.loads(row["payload"])
    return Task(
        task_id=row["task_id"],
        task_type=row["task_type"],
        payload=payload,
        priority=TaskPriority(row["priority"]),
        status=TaskStatus(row["status"]),
        attempt=row["attempt"],
        max_retries=row["max_retries"],
        timeout=row["timeout"],
        idempotency_key=row["idempotency_key"],
        owner=row["owner"],
        created_at=row["created_at"],
        available_at=row["available_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        result=decode_json(row["result"]),
        error=row["error"],
        progress=decode_progress(row["progress"]),
        worker_id=row["worker_id"],
        cancel_requested=row["cancel_requested"],
        preemptible=row["preemptible"],
        traceparent=row["traceparent"],
        history=decode_history(row["history"]),
    )


def row_from_worker(worker: WorkerInfo, queue: str) -> dict[str, Any]:
    """Return the columns of a worker's heartbeat."""
    return {
        "worker_id": worker.worker_id,
        "queue": queue,
        "host": worker.host,
        "process_id": worker.process_id,
        "concurrency": worker.concurrency,
        "task_types": None if worker.task_types is None else list(worker.task_types),
        "running": list(worker.running),
        "started_at": worker.started_at,
        "seen_at": worker.seen_at,
    }


def worker_from_row(row: RowMapping) -> WorkerInfo:
    """Return the worker of a row of the ``task_workers`` table."""
    types = row["task_types"]
    return WorkerInfo(
        row["worker_id"],
        row["host"],
        row["process_id"],
        row["concurrency"],
        None if types is None else tuple(types),
        tuple(row["running"]),
        row["started_at"],
        row["seen_at"],
    )
