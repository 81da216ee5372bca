"""Tasks as Redis keeps them, and what Redis keeps as tasks.

What never changes is one text, the spec: a JSON array, a line break, a comma and the payload. Where
the task stands is another, one field a line; ``lua/library.lua`` names both. Neither is a hash:
scripts then read and write a whole batch in one call each, which costs a third.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic_core import from_json, to_json

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
_PRIORITIES = {int(priority): priority for priority in TaskPriority}
#: Where a task stands that has only been added.
_UNTOUCHED = ("pending", "0", "", "", "", "", "0", "", "", "")


def compact(value: object) -> str:
    """Return JSON text without spaces."""
    return _encoder.encode(value)


def add_arguments(entries: Sequence[NewEntry]) -> list[str | int]:
    """Return what ``add.lua`` needs of some tasks: runs of one type and priority, in order."""
    arguments: list[str | int] = []
    for (task_type, priority), run in groupby(entries, _addition):
        specs = [spec_text(entry) for entry in run]
        arguments += [task_type, priority, len(specs)]
        arguments += specs
    return arguments


def _addition(entry: NewEntry) -> tuple[str, int]:
    """Return type and priority of a task that is ready at once and has no key; else nothing."""
    task = entry.task
    if entry.unique is not None or task.status is TaskStatus.SCHEDULED:
        return "", 0
    return task.task_type, task.priority.value


def spec_text(entry: NewEntry) -> str:
    """Return what never changes about a task; its id is at the same place in each."""
    task = entry.task
    created = to_micros(task.created_at)
    due = created if task.available_at is task.created_at else to_micros(task.available_at)
    header = to_json(
        (
            task.task_id,
            task.task_type,
            task.priority.value,
            task.max_retries,
            task.timeout,
            task.idempotency_key,
            task.owner,
            created,
            due,
            task.preemptible,
            entry.unique,
            task.status is TaskStatus.SCHEDULED,
            *_trace(task),
        )
    ).decode()
    return f"{header}\n,{entry.payload}"


def _trace(task: Task) -> tuple[str, ...]:
    return () if task.traceparent is None else (task.traceparent,)


def deliveries(text: str, request: TakeRequest) -> list[Delivery]:
    """Return what ``take.lua`` handed out."""
    given: list[Any] = from_json(text)
    found = [_delivery(one, request.now, request.worker_id) for one in given]
    found.sort(key=_urgency)
    return found


def _urgency(delivery: Delivery) -> int:
    return -delivery.task.priority


def _delivery(given: Sequence[Any], now: datetime, worker_id: str) -> Delivery:
    epoch, attempt, due, error, history, header, payload = given
    task = _task(
        header,
        payload,
        TaskStatus.PROCESSING,
        attempt,
        due,
        started_at=now,
        worker_id=worker_id,
        error=error,
        history=decode_history(history) if history else (),
    )
    return Delivery(Lease(task.task_id, epoch), task)


def _task(
    header: Sequence[Any],
    payload: Any,
    status: TaskStatus,
    attempt: int,
    due: int | None,
    **rest: Any,
) -> Task:
    (
        task_id, task_type, priority, retries, timeout, key, owner, created, first_due, preemptible,
        _, _, *trace,
    ) = header  # fmt: skip
    created_at = from_micros(created)
    due_at = created_at if due is None and first_due == created else None
    return Task(
        task_id,
        task_type,
        payload,
        _PRIORITIES[priority],
        status,
        attempt,
        retries,
        timeout,
        key,
        owner,
        created_at,
        due_at or from_micros(first_due if due is None else due),
        preemptible=preemptible,
        traceparent=trace[0] if trace else None,
        **rest,
    )


def task_from_record(record: Sequence[Any]) -> Task | None:
    """Return the task that ``get.lua`` read; None where there is none."""
    spec, text, flat = record
    if spec is None:
        return None
    header, payload = json.loads(f"[{spec}]")
    stands: Sequence[str] = _UNTOUCHED if text is None else text.split("\n")
    status, _, marks, _, _, _, attempt, due, started, worker, *end = stands
    finished, result = (*end, "", "")[:2]
    more = pairs(flat)
    progress = decode_json(more.get("progress"))
    history: Any = decode_json(more.get("history"))
    return _task(
        header,
        payload,
        TaskStatus(status),
        int(attempt),
        int(due) if due else None,
        started_at=from_micros(int(started)) if started else None,
        finished_at=from_micros(int(finished)) if finished else None,
        result=decode_json(result or None),
        error=more.get("error"),
        progress=decode_progress(progress) if isinstance(progress, dict) else None,
        worker_id=json.loads(worker) if worker else None,
        cancel_requested="c" in marks,
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
