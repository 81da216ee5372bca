"""Recording how deliveries ended: a whole group in three statements, each item fenced."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, func, select, update

from mcp_orchestrator.errors import StaleLeaseError
from mcp_orchestrator.queue.encoding import encode_event, key_after_end
from mcp_orchestrator.queue.port import Settlement, stale_lease
from mcp_orchestrator.queue.task import TaskStatus
from mcp_orchestrator.store.columns import UtcDateTime
from mcp_orchestrator.store.schema.tasks import tasks

_HELD = (
    select(
        tasks.c.task_id,
        tasks.c.epoch,
        tasks.c.status,
        tasks.c.attempt,
        tasks.c.history,
        tasks.c.cancel_requested,
        tasks.c.unique_key,
    )
    .where(tasks.c.task_id.in_(bindparam("ids", expanding=True)))
    .order_by(tasks.c.task_id)  # one order for all, so that PostgreSQL never deadlocks here
    .with_for_update()
)
_SETTLE = (
    update(tasks)
    .where(tasks.c.task_id == bindparam("b_task_id"), tasks.c.epoch == bindparam("b_epoch"))
    .values(
        status=bindparam("b_status"),
        result=bindparam("b_result"),
        error=bindparam("b_error"),
        attempt=bindparam("b_attempt"),
        history=bindparam("b_history"),
        available_at=func.coalesce(
            bindparam("b_available_at", type_=UtcDateTime()), tasks.c.available_at
        ),
        finished_at=bindparam("b_finished_at"),
        expires_at=bindparam("b_expires_at"),
        lease_until=None,
        unique_key=bindparam("b_unique_key"),
    )
)


def settle_group(
    connection: Connection, group: Sequence[Settlement]
) -> list[StaleLeaseError | None]:
    """Record a group of outcomes; each late one gets its refusal instead.

    An outcome that is already recorded under the same lease is accepted, so that a caller whose
    connection broke may say it again.
    """
    ids = {settlement.lease.task_id for settlement in group}
    found = (connection.execute(_HELD, {"ids": sorted(ids)})).mappings()
    held = {row["task_id"]: row for row in found}
    recorded: dict[str, TaskStatus] = {}
    outcomes: list[StaleLeaseError | None] = []
    values: list[dict[str, Any]] = []
    for settlement in group:
        lease = settlement.lease
        row = held.get(lease.task_id)
        if row is None or row["epoch"] != lease.epoch:
            outcomes.append(stale_lease(lease))
            continue
        status = recorded.get(lease.task_id, TaskStatus(row["status"]))
        if status is not TaskStatus.PROCESSING:
            outcomes.append(None if status is settlement.status else stale_lease(lease))
            continue
        outcomes.append(None)
        values.append(_values(settlement, row))
        recorded[lease.task_id] = settlement.status
    if values:
        connection.execute(_SETTLE, values)
    return outcomes


def _values(settlement: Settlement, row: RowMapping) -> dict[str, Any]:
    event, status = settlement.event, settlement.status
    if row["cancel_requested"] and not status.is_final:
        status = TaskStatus.CANCELLED  # nobody wants another attempt of it
    return {
        "b_task_id": settlement.lease.task_id,
        "b_epoch": settlement.lease.epoch,
        "b_status": status.value,
        "b_result": settlement.result,
        "b_error": settlement.error,
        "b_attempt": row["attempt"] if settlement.counts else max(row["attempt"] - 1, 0),
        "b_history": row["history"] if event is None else [*row["history"], encode_event(event)],
        "b_available_at": settlement.available_at,
        "b_finished_at": settlement.at if status.is_final else None,
        "b_unique_key": key_after_end(row["unique_key"]) if status.is_final else row["unique_key"],
        "b_expires_at": settlement.expires_at if status.is_final else None,
    }
