"""Checkpoints written by the drivers alone: the floor. The last line is JSON.

One checkpoint is an UPDATE of a saga's row and an INSERT of an audit row, grouped as the engine
groups them; nothing is encoded, hashed or decided.

Usage: python -m benchmarks.saga.raw DATABASE_URL COUNT
"""

import asyncio
import json
import sqlite3
import sys
import time
from typing import Any

import asyncpg

GROUP = 256
TABLES = (
    "CREATE TABLE saga (id TEXT PRIMARY KEY, state TEXT, context TEXT, number INTEGER)",
    "CREATE TABLE log (id TEXT, number INTEGER, kind TEXT, data TEXT, hash TEXT)",
)
CONTEXT = json.dumps({"input": {"n": 1}, "steps": {"a": {"result": None}}})


def on_sqlite(path: str, count: int) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", *TABLES):
        connection.execute(statement)
    ids = [(f"saga_{n:032}",) for n in range(GROUP)]
    connection.executemany("INSERT INTO saga VALUES (?, 'idle', '{}', 0)", ids)
    began = time.perf_counter()
    for number in range(count // GROUP):
        connection.execute("BEGIN IMMEDIATE")
        changes = [("running", CONTEXT, number, row[0]) for row in ids]
        connection.executemany(
            "UPDATE saga SET state = ?, context = ?, number = ? WHERE id = ?", changes
        )
        events = [(row[0], number, "step_complete", CONTEXT, "0" * 64) for row in ids]
        connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", events)
        connection.execute("COMMIT")
    return count // GROUP * GROUP / (time.perf_counter() - began)


async def on_postgresql(url: str, count: int) -> float:
    driver: Any = asyncpg
    connection = await driver.connect(url)
    for statement in TABLES:
        await connection.execute(statement)
    ids = [(f"saga_{n:032}",) for n in range(GROUP)]
    await connection.executemany("INSERT INTO saga VALUES ($1, 'idle', '{}', 0)", ids)
    began = time.perf_counter()
    for number in range(count // GROUP):
        async with connection.transaction():
            await connection.executemany(
                "UPDATE saga SET state = $1, context = $2, number = $3 WHERE id = $4",
                [("running", CONTEXT, number, row[0]) for row in ids],
            )
            await connection.executemany(
                "INSERT INTO log VALUES ($1, $2, $3, $4, $5)",
                [(row[0], number, "step_complete", CONTEXT, "0" * 64) for row in ids],
            )
    rate = count // GROUP * GROUP / (time.perf_counter() - began)
    await connection.close()
    return rate


if __name__ == "__main__":
    place, number = sys.argv[1], int(sys.argv[2])
    if place.startswith("sqlite"):
        result = on_sqlite(place.removeprefix("sqlite:///"), number)
    else:
        result = asyncio.run(on_postgresql(place, number))
    print(json.dumps({"checkpoints_per_s": result}))
