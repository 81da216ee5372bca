"""Writing many rows of one table in few statements, each compiled once.

SQLAlchemy's own executemany prepares every statement and every row anew, which costs more than
the database does. On SQLite many rows go to it in one statement, so that the writer's thread lets
go of the interpreter once for all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from sqlalchemy import Connection, Dialect, Table, bindparam, insert, update

Row = Mapping[str, object]
#: The columns of a statement in its order, and what makes the driver's value of each.
Binders = Sequence[tuple[str, Callable[[Any], Any] | None]]

Verb = Literal["insert", "insert new", "update"]

#: Rows go to SQLite in blocks of these sizes, so that few statements are kept.
_BLOCKS = (32, 8, 2, 1)
_KEY = "key_of_the_row"


class BulkWriter:
    """Inserts rows into a table and updates them by its primary key.

    Args:
        table: a table whose primary key is one column.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._names = [column.name for column in table.columns]
        self._key = next(iter(table.primary_key)).name
        self._statements: dict[tuple[str, Verb, tuple[str, ...], int], str] = {}
        self._binders: dict[tuple[str, tuple[str, ...]], Binders] = {}

    def insert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert rows, which all have the same columns."""
        self._insert(connection, "insert", rows)

    def insert_new(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert rows as ``insert`` does, except those whose key is there already."""
        self._insert(connection, "insert new", rows)

    def update(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Change rows; the key is among their columns, which may differ from row to row."""
        alike: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            alike.setdefault(tuple(row), []).append(row)
        for given, members in alike.items():
            changed = set(given) - {self._key}
            names = (*(name for name in self._names if name in changed), self._key)
            self._execute(connection, "update", names, members)

    def _insert(self, connection: Connection, verb: Verb, rows: Sequence[Row]) -> None:
        if rows:
            names = tuple(name for name in self._names if name in rows[0])
            self._execute(connection, verb, names, rows)

    def _execute(
        self, connection: Connection, verb: Verb, names: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        dialect = connection.dialect
        binders = self._binders_of(dialect, names)
        bound = [
            tuple([bind(row[name]) if bind else row[name] for name, bind in binders])
            for row in rows
        ]
        if dialect.name != "sqlite":  # asyncpg sends all rows of an executemany at once
            connection.exec_driver_sql(self._statement(dialect, verb, names, 1), bound)
            return
        start = 0
        for size in _BLOCKS:
            while len(bound) - start >= size:
                block = tuple(chain.from_iterable(bound[start : start + size]))
                execute_plainly(connection, self._statement(dialect, verb, names, size), block)
                start += size

    def _binders_of(self, dialect: Dialect, names: tuple[str, ...]) -> Binders:
        found = self._binders.get((dialect.name, names))
        if found is None:
            found = [
                (name, self._table.c[name].type.dialect_impl(dialect).bind_processor(dialect))
                for name in names
            ]
            self._binders[dialect.name, names] = found
        return found

    def _statement(self, dialect: Dialect, verb: Verb, names: tuple[str, ...], rows: int) -> str:
        at = (dialect.name, verb, names, rows)
        if at not in self._statements:
            make = self._change if verb == "update" else self._insertion
            text = make(dialect, names, rows)
            self._statements[at] = (
                f"{text} ON CONFLICT DO NOTHING" if verb == "insert new" else text
            )
        return self._statements[at]

    def _insertion(self, dialect: Dialect, names: tuple[str, ...], rows: int) -> str:
        statement = insert(self._table).values(_parameters(names))
        text = str(statement.compile(dialect=dialect))
        head, between, blanks = text.rpartition(" VALUES ")
        return f"{head}{between}{', '.join([blanks] * rows)}"

    def _change(self, dialect: Dialect, names: tuple[str, ...], rows: int) -> str:
        *changed, key = names
        if dialect.name != "sqlite":
            statement = update(self._table).where(self._table.c[key] == bindparam(_KEY))
            return str(statement.values(_parameters(changed)).compile(dialect=dialect))
        blanks = f"({', '.join('?' * len(names))})"
        sets = ", ".join(f"{name} = v.column{i}" for i, name in enumerate(changed, 1))
        return (
            f"UPDATE {self._table.name} SET {sets} FROM (VALUES {', '.join([blanks] * rows)}) AS v "
            f"WHERE {self._table.name}.{key} = v.column{len(names)}"
        )


def execute_plainly(connection: Connection, statement: str, parameters: Sequence[object]) -> Any:
    """Execute a statement of SQLite's own by its driver, and return the driver's cursor.

    What SQLAlchemy does around each statement takes longer than a small statement itself.

    Raises:
        sqlite3.Error: what the driver raised, not wrapped.
    """
    cursor = connection.connection.cursor()
    cursor.execute(statement, parameters)
    return cursor


def _parameters(names: Sequence[str]) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}
