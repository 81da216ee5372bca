"""How all sagas of the store stand, in one look at those that are not finished."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.store.schema.sagas import OPEN, saga_checkpoints


class SagaStanding(NamedTuple):
    """The sagas that are not finished.

    Attributes:
        by_state: how many there are in each state.
        held: how many wait for a person.
        unchanged_since: when the one was changed that has been left alone longest, of those that
            are neither held nor asleep; None where there is none.
    """

    by_state: Mapping[str, int]
    held: int
    unchanged_since: datetime | None


async def saga_standing(connection: AsyncConnection) -> SagaStanding:
    """Return how the sagas stand now."""
    table = saga_checkpoints.c
    at_work = table.held_reason.is_(None) & table.wake_at.is_(None)
    query = (
        select(
            table.state,
            func.count(),
            func.count(table.held_reason),
            func.min(case((at_work, table.updated_at))),
        )
        .where(OPEN)
        .group_by(table.state)
    )
    rows = (await connection.execute(query)).all()
    changed = [row[3] for row in rows if row[3] is not None]
    return SagaStanding(
        {row[0]: row[1] for row in rows}, sum(row[2] for row in rows), min(changed, default=None)
    )
