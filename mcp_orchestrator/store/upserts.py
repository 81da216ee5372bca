"""The insert that goes on with ON CONFLICT, which each database has as its own."""

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the insert of the connection's database.

    Args:
        connection: where it will be executed.
        table: what it inserts into.
    """
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
