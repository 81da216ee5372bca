"""What must not grow with the number of finished sagas."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.saga.identity import new_saga_id
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.leases import find_free, next_wake

NOW = SystemClock().now()


@given(st.integers(1, 10**9))
def test_a_later_saga_has_a_greater_id(milliseconds: int) -> None:
    later = new_saga_id(NOW + timedelta(milliseconds=milliseconds))
    assert new_saga_id(NOW) < later
    assert len(later) == len("saga_") + 32


def test_sagas_of_one_moment_have_different_ids() -> None:
    assert len({new_saga_id(NOW) for _ in range(1000)}) == 1000


async def test_looking_for_work_does_not_walk_finished_sagas(database: Database) -> None:
    asked: list[tuple[str, Any]] = []

    def keep(*given: Any) -> None:
        asked.append((given[2], given[3]))

    event.listen(database.engine.sync_engine, "before_cursor_execute", keep)
    async with database.write() as connection:
        await connection.execute(text(FINISHED if database.is_sqlite else FINISHED_ON_POSTGRESQL))
    if not database.is_sqlite:
        async with database.write() as connection:
            await connection.execute(text("ANALYZE saga_checkpoints"))
    async with database.read() as connection:
        asked.clear()
        await find_free(connection, NOW, 100, lost_by="me", lost=("a",), without=("b",))
        await find_free(connection, NOW, 100)
        await next_wake(connection, NOW)
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        for sql, parameters in asked.copy():
            plan = await connection.exec_driver_sql(f"{explain} {sql}", parameters)
            lines = " ".join(str(row) for row in plan)
            assert "ix_saga_checkpoints_open" in lines, lines


_COLUMNS = (
    "INSERT INTO saga_checkpoints (saga_id, saga_type, version, definition_hash, state, goal, "
    "current_step_index, total_steps, steps, completed_steps, compensated_steps, context, "
    "needs_person, retries, started_at, updated_at, finished_at, epoch, takeovers, "
    "audit_sequence, audit_hash) "
)
_VALUES = (
    "SELECT 'saga_' || i, 'old', '1', '', 'completed', 'completed', 0, 1, '[]', '[]', '[]', '{}', "
    "'[]', 0, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 1, 0, 1, '' FROM "
)
FINISHED = (
    f"{_COLUMNS}WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
    f"{_VALUES} n"
)
FINISHED_ON_POSTGRESQL = f"{_COLUMNS}{_VALUES} generate_series(1, 3000) AS n(i)"
