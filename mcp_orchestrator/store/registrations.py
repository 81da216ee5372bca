"""The rows of registered definitions: a name and a version for each."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.store.schema.sagas import saga_definitions, saga_registrations
from mcp_orchestrator.store.upserts import insert_into


def add_registration(connection: Connection, definition: Mapping[str, Any]) -> str:
    """Register a definition, unless its name and version are taken.

    Args:
        connection: where to write.
        definition: the columns of its row in ``saga_definitions``.

    Returns:
        The hash of the definition that has the name and version now.
    """
    body = insert_into(connection, saga_definitions).values(definition)
    connection.execute(body.on_conflict_do_nothing())
    row = {name: definition[name] for name in ("name", "version", "definition_hash")}
    row["registered_at"] = definition["created_at"]
    registration = insert_into(connection, saga_registrations).values(row)
    connection.execute(registration.on_conflict_do_nothing())
    query = _joined().where(
        saga_registrations.c.name == definition["name"],
        saga_registrations.c.version == definition["version"],
    )
    return str(connection.execute(query).mappings().one()["definition_hash"])


async def list_registrations(
    connection: AsyncConnection, name: str | None = None
) -> Sequence[RowMapping]:
    """Return what is registered, with each definition's ``body``; the latest of a name first."""
    table = saga_registrations.c
    query = _joined() if name is None else _joined().where(table.name == name)
    order = (table.name, table.registered_at.desc(), table.version.desc())
    return (await connection.execute(query.order_by(*order))).mappings().all()


def _joined() -> Select[Any]:
    same = saga_definitions.c.definition_hash == saga_registrations.c.definition_hash
    return select(saga_registrations, saga_definitions.c.body).join(saga_definitions, same)
