"""Who runs which saga: a lease for each runner, an epoch for each saga.

A runner renews one row, however many sagas it has. A saga whose owner's lease has run out is
free; whoever takes it raises its epoch, and from then on every write of the former owner is
refused. Clocks of different hosts may differ by less than a lease.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import ColumnElement, Connection, case, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.store.schema.sagas import OPEN, saga_checkpoints, saga_inbox, saga_runners
from mcp_orchestrator.store.upserts import insert_into

#: Runners that have been silent for so long are forgotten.
_FORGET_AFTER = timedelta(days=1)


def renew_lease(connection: Connection, runner_id: str, until: datetime) -> None:
    """Create or extend a runner's lease."""
    row = insert_into(connection, saga_runners).values(runner_id=runner_id, lease_until=until)
    changed = row.on_conflict_do_update(
        index_elements=[saga_runners.c.runner_id], set_={"lease_until": until}
    )
    connection.execute(changed)


def end_lease(connection: Connection, runner_id: str, now: datetime) -> None:
    """Give up a runner's lease and free its sagas, so that others go on with them at once."""
    mine = saga_checkpoints.c.lease_owner == runner_id
    free = update(saga_checkpoints).where(mine, OPEN).values(lease_owner=None)
    connection.execute(free)
    gone = or_(
        saga_runners.c.runner_id == runner_id, saga_runners.c.lease_until < now - _FORGET_AFTER
    )
    connection.execute(delete(saga_runners).where(gone))


async def find_free(
    connection: AsyncConnection,
    now: datetime,
    limit: int,
    *,
    lost_by: str | None = None,
    lost: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Sequence[str]:
    """Return ids of sagas that somebody should run now and nobody does.

    Args:
        connection: where to read.
        now: the present moment.
        limit: how many at the most.
        lost_by: the runner that asks.
        lost: sagas it still holds but does not run any more, because a write of theirs failed.
        without: hashes of definitions that the runner cannot run.
    """
    query = select(saga_checkpoints.c.saga_id).where(*_free(now, lost_by, lost))
    if without:
        query = query.where(saga_checkpoints.c.definition_hash.not_in(without))
    # Not by the column alone: both planners would walk its index through every finished saga.
    oldest = func.coalesce(saga_checkpoints.c.updated_at, saga_checkpoints.c.started_at)
    query = query.order_by(oldest).limit(limit)
    return (await connection.execute(query)).scalars().all()


def claim(
    connection: Connection,
    runner_id: str,
    saga_ids: Sequence[str],
    now: datetime,
    *,
    lost: Sequence[str] = (),
) -> dict[str, str | None]:
    """Take sagas that are still free; of several runners, one gets each.

    Returns:
        The ids of those that were taken, and who had each before.
    """
    free = _free(now, runner_id, lost)
    chosen = select(saga_checkpoints.c.saga_id, saga_checkpoints.c.lease_owner)
    chosen = chosen.where(saga_checkpoints.c.saga_id.in_(saga_ids), *free)
    rows = (connection.execute(chosen.with_for_update(skip_locked=True))).all()
    former = {row[0]: row[1] for row in rows}
    if not former:
        return {}
    died = case((saga_checkpoints.c.lease_owner.is_not(None), 1), else_=0)
    # Asked again: PostgreSQL looks a second time at a row that changed before it was locked, but
    # not at its new owner's lease, which the first statement may have been too early to see.
    taken = update(saga_checkpoints).where(saga_checkpoints.c.saga_id.in_(former), *free)
    taken = taken.values(
        lease_owner=runner_id,
        epoch=saga_checkpoints.c.epoch + 1,
        takeovers=saga_checkpoints.c.takeovers + died,
    ).returning(saga_checkpoints.c.saga_id)
    return {saga_id: former[saga_id] for saga_id in connection.execute(taken).scalars()}


def take_at_rest(
    connection: Connection, runner_id: str, saga_id: str, epoch: int, now: datetime
) -> bool:
    """Take a saga that nobody runs because it is finished or held, for a person's order.

    Args:
        connection: where to write.
        runner_id: who takes it.
        saga_id: the saga.
        epoch: its epoch when the person looked at it.
        now: the present moment.

    Returns:
        Whether it was taken; not if somebody else has changed it since.
    """
    table = saga_checkpoints.c
    taken = update(saga_checkpoints).where(
        table.saga_id == saga_id,
        table.epoch == epoch,
        or_(table.lease_owner.is_(None), ~_owner_is_alive(now)),
    )
    values = taken.values(lease_owner=runner_id, epoch=epoch + 1).returning(table.saga_id)
    return (connection.execute(values)).first() is not None


async def next_wake(connection: AsyncConnection, now: datetime) -> datetime | None:
    """Return when the next sleeping saga wakes."""
    wake = saga_checkpoints.c.wake_at
    query = select(wake).where(OPEN, wake > now).order_by(wake).limit(1)
    return await connection.scalar(query)


async def held_by(connection: AsyncConnection, runner_id: str) -> Sequence[str]:
    """Return ids of the sagas that are not finished and under a runner's lease."""
    query = select(saga_checkpoints.c.saga_id).where(
        saga_checkpoints.c.lease_owner == runner_id, OPEN
    )
    return (await connection.execute(query)).scalars().all()


async def mine_with_messages(connection: AsyncConnection, runner_id: str) -> Sequence[str]:
    """Return ids of a runner's sagas that have messages in the inbox."""
    inbox = saga_inbox.c.saga_id
    mine = exists().where(
        saga_checkpoints.c.saga_id == inbox, saga_checkpoints.c.lease_owner == runner_id
    )
    return (await connection.execute(select(inbox).where(mine).distinct())).scalars().all()


def _free(
    now: datetime, runner_id: str | None, lost: Sequence[str]
) -> Sequence[ColumnElement[bool]]:
    """Return the conditions under which a saga is nobody's and has something to do."""
    table = saga_checkpoints.c
    unowned: ColumnElement[bool] = or_(table.lease_owner.is_(None), ~_owner_is_alive(now))
    if lost:
        unowned = or_(unowned, (table.lease_owner == runner_id) & table.saga_id.in_(lost))
    message = exists().where(saga_inbox.c.saga_id == table.saga_id)
    awake = or_(table.wake_at.is_(None), table.wake_at <= now, message)
    held = (table.held_reason.is_not(None)) & ~message
    return (cast("ColumnElement[bool]", OPEN), unowned, awake, ~held)


def _owner_is_alive(now: datetime) -> ColumnElement[bool]:
    owner = saga_runners.c.runner_id == saga_checkpoints.c.lease_owner
    return exists().where(owner, saga_runners.c.lease_until > now)
