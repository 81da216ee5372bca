"""Tasks as Redis hashes, and hashes as tasks.

What never changes is one JSON text (``spec``); the rest are fields that scripts read and write.
"""

import json
from collections.abc import Sequence
from typing import Any

from mcp_orchestrator.queue.encoding import (
    decode_history,
    decode_json,
    decode_progress,
    from_micros,
    to_micros,
)
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.port import NewEntry, TakeRequest, WorkerInfo
from mcp_orchestrator.queue.task import Task, TaskPriority, TaskStatus

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def compact(value: object) -> str:
    """Return JSON text without spaces."""
    return _encoder.encode(value)


def add_arguments(entry: NewEntry) -> tuple[str, str]:
    """Return what ``add.lua`` needs of a task."""
    task = entry.task
    owner = compact(task.owner)
    fixed = compact(
        {
            "id": task.task_id,
            "type": task.task_type,
            "priority": int(task.priority),
            "retries": task.max_retries,
            "timeout": task.timeout,
            "key": task.idempotency_key,
            "owner": task.owner,
            "created": to_micros(task.created_at),
            "preemptible": task.preemptible,
        }
    )
    fields = [
        task.task_id,
        task.task_type,
        str(int(task.priority)),
        str(to_micros(task.available_at)),
        "1" if task.status is TaskStatus.SCHEDULED else "0",
        entry.unique or "",
        str(task.max_retries),
        owner,
    ]
    return f'{fixed[:-1]},"payload":{entry.payload}}}', compact(fields)


def _task_from_spec(
    spec: dict[str, Any], status: TaskStatus, attempt: int, due: int, **rest: Any
) -> Task:
    return Task(
        task_id=spec["id"],
        task_type=spec["type"],
        payload=spec["payload"],
        priority=TaskPriority(spec["priority"]),
        status=status,
        attempt=attempt,
        max_retries=spec["retries"],
        timeout=spec["timeout"],
        idempotency_key=spec["key"],
        owner=spec["owner"],
        created_at=from_micros(spec["created"]),
        available_at=from_micros(due),
        preemptible=spec["preemptible"],
        **rest,
    )


def deliveries(text: str, request: TakeRequest) -> list[Delivery]:
    """Return what ``take.lua`` handed out."""
    given: list[dict[str, Any]] = json.loads(text)
    found: list[Delivery] = []
    for one in given:
        task = _task_from_spec(
            one["spec"],
            TaskStatus.PROCESSING,
            one["attempt"],
            one["due"],
            started_at=request.now,
            worker_id=request.worker_id,
            error=one["error"],
            history=decode_history(one["history"]),
        )
        found.append(Delivery(Lease(task.task_id, one["epoch"]), task))
    found.sort(key=lambda delivery: -delivery.task.priority)
    return found


def task_from_hash(fields: dict[str, str]) -> Task:
    """Return the task of a whole hash."""
    progress = decode_json(fields.get("progress"))
    history: Any = decode_json(fields.get("history"))
    return _task_from_spec(
        json.loads(fields["spec"]),
        TaskStatus(fields["status"]),
        int(fields["attempt"]),
        int(fields["due"]),
        started_at=from_micros(int(fields["started"])) if "started" in fields else None,
        finished_at=from_micros(int(fields["finished"])) if "finished" in fields else None,
        result=decode_json(fields.get("result")),
        error=fields.get("error"),
        progress=decode_progress(progress) if isinstance(progress, dict) else None,
        worker_id=fields.get("worker"),
        cancel_requested="cancel" in fields,
        history=decode_history(history or []),
    )


def pairs(flat: "Sequence[str] | dict[str, str]") -> dict[str, str]:
    """Return the fields of a hash, which RESP2 and Lua give as a flat list."""
    if isinstance(flat, dict):
        return dict(flat)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def worker_text(worker: WorkerInfo) -> str:
    """Return a worker's heartbeat as JSON."""
    return compact(
        {
            "id": worker.worker_id,
            "host": worker.host,
            "pid": worker.process_id,
            "concurrency": worker.concurrency,
            "types": worker.task_types,
            "running": worker.running,
            "started": to_micros(worker.started_at),
            "seen": to_micros(worker.seen_at),
        }
    )


def worker_from_text(text: str) -> WorkerInfo:
    """Return the worker of a heartbeat."""
    data: dict[str, Any] = json.loads(text)
    types = data["types"]
    return WorkerInfo(
        data["id"],
        data["host"],
        data["pid"],
        data["concurrency"],
        None if types is None else tuple(types),
        tuple(data["running"]),
        from_micros(data["started"]),
        from_micros(data["seen"]),
    )
