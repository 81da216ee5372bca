"""Filling a store with finished sagas: one is run, and its rows are copied by the database.

Usage: python -m benchmarks.saga.finished SQLITE_PATH COUNT
"""

import sqlite3
import sys

import anyio

from benchmarks.saga import ours

#: As the engine makes them, of a saga in each millisecond from November 2023 on.
OLD_ID = "printf('saga_%012x%020x', 1700000000000 + i, i)"


def copy_finished(path: str, count: int) -> None:
    connection = sqlite3.connect(path)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
        connection.execute(f"PRAGMA {pragma}")
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    model = connection.execute("SELECT max(saga_id) FROM saga_checkpoints").fetchone()[0]
    for table, key in (("saga_checkpoints", "saga_id"), ("saga_audit_logs", "id")):
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        copied = [name for name in names if name not in {"saga_id", "id"}]
        listed = ", ".join(["saga_id", *copied])
        connection.execute(
            f"{numbers} INSERT INTO {table} ({listed}) "
            f"SELECT {OLD_ID}, {', '.join(copied)} FROM n, {table} "
            f"WHERE {table}.saga_id = ? ORDER BY i, {table}.{key}",
            (model,),
        )
    connection.commit()
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


if __name__ == "__main__":
    file, number = sys.argv[1], int(sys.argv[2])
    anyio.run(ours.main, f"sqlite:///{file}", "many", 1)
    copy_finished(file, number)
