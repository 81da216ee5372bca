"""What has happened to all sagas since a moment, whichever process wrote it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.store.schema.sagas import saga_audit_logs


class StreamedEvent(NamedTuple):
    """One line of the trail, without what may be encrypted.

    Attributes:
        number: its number in the whole trail.
        saga_id: the saga.
        event: what happened.
        step: to which step.
        state: the saga's state after it.
        owner: for whom the saga runs.
        at: when.
    """

    number: int
    saga_id: str
    event: str
    step: str | None
    state: str
    owner: str | None
    at: datetime


async def last_number(connection: AsyncConnection) -> int:
    """Return the number of the latest event; 0 before the first."""
    return await connection.scalar(select(func.max(saga_audit_logs.c.id))) or 0


async def events_after(
    connection: AsyncConnection, number: int, limit: int
) -> Sequence[StreamedEvent]:
    """Return the events with higher numbers, in order.

    PostgreSQL hands numbers out before it commits, so that one may be missing for a moment.
    """
    table = saga_audit_logs.c
    query = (
        select(
            table.id, table.saga_id, table.event_type, table.step_name, table.saga_state_after,
            table.user_id, table.timestamp,
        )
        .where(table.id > number)
        .order_by(table.id)
        .limit(limit)
    )  # fmt: skip
    return [StreamedEvent(*row) for row in (await connection.execute(query)).all()]
