"""The rows of the sagas' data keys: wrapping all of them anew, and counting them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select, update

from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.sagas import saga_keys
from mcp_orchestrator.store.sealing import unknown_master_key
from mcp_orchestrator.store.wrapping import KeyService, WrappedKey

_PAGE = 500


async def rotate_keys(database: Database, committer: GroupCommitter, keys: KeyService) -> int:
    """Wrap every data key that is under an older master key anew, under the current one.

    Servers may run meanwhile: a data key is replaced only where nobody else has replaced it. What
    was done stays done when it is interrupted.

    Args:
        database: whose keys.
        committer: the process's one writer.
        keys: wraps and unwraps them.

    Returns:
        How many were wrapped anew.

    Raises:
        ConfigurationError: an older master key is not here any more.
    """
    current, table, last, count = await keys.current_id(), saga_keys.c, "", 0
    while True:
        query = select(saga_keys).where(
            table.saga_id > last, table.wrapped_key.is_not(None), table.master_key_id != current
        )
        async with database.read() as connection:
            page = (await connection.execute(query.order_by(table.saga_id).limit(_PAGE))).mappings()
            rows = page.all()
        if not rows:
            return count
        fresh = [(row, await _wrapped_anew(row, keys)) for row in rows]
        count += await committer.submit(partial(_replace, fresh=fresh))
        last = rows[-1]["saga_id"]


def _replace(connection: Connection, fresh: Sequence[tuple[Mapping[Any, Any], WrappedKey]]) -> int:
    """Replace data keys that nobody else has replaced, and return how many these were."""
    table, count = saga_keys.c, 0
    for row, wrapped in fresh:
        same = (table.saga_id == row["saga_id"]) & (table.wrapped_key == row["wrapped_key"])
        values = {"wrapped_key": wrapped.text, "master_key_id": wrapped.master_key_id}
        count += connection.execute(update(saga_keys).where(same).values(values)).rowcount
    return count


async def _wrapped_anew(row: Mapping[Any, Any], keys: KeyService) -> WrappedKey:
    saga_id = row["saga_id"]
    data_key = await keys.unwrap(WrappedKey(row["master_key_id"], row["wrapped_key"]), saga_id)
    if data_key is None:
        raise unknown_master_key(row)
    return await keys.wrap(data_key, saga_id)


async def count_by_master_key(database: Database) -> dict[str, int]:
    """Return how many data keys are under each master key."""
    table = saga_keys.c
    query = select(table.master_key_id, func.count()).where(table.wrapped_key.is_not(None))
    async with database.read() as connection:
        rows = await connection.execute(query.group_by(table.master_key_id))
        return {row[0]: row[1] for row in rows}
