"""Rules and signals in the database."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.queue.signals.rule import Outcome, Signal, SignalRule, SignalStatus
from mcp_orchestrator.store.schema.tasks import signal_rules, signals


def put_rule(connection: Connection, queue: str, rule: SignalRule) -> None:
    """Add a rule, or replace the one of its name."""
    drop_rule(connection, queue, rule.name)
    row = {"queue": queue, "name": rule.name, "rule": rule.model_dump(mode="json")}
    connection.execute(insert(signal_rules), row)


def drop_rule(connection: Connection, queue: str, name: str) -> bool:
    """Remove a rule; False when there was none."""
    where = (signal_rules.c.queue == queue, signal_rules.c.name == name)
    return (connection.execute(delete(signal_rules).where(*where))).rowcount > 0


async def all_rules(connection: AsyncConnection, queue: str) -> list[SignalRule]:
    """Return every rule, by name."""
    found = select(signal_rules.c.rule).where(signal_rules.c.queue == queue)
    rows = await connection.scalars(found.order_by(signal_rules.c.name))
    return [SignalRule.model_validate(row) for row in rows]


def receive(connection: Connection, queue: str, signal: Signal) -> None:
    """Keep a signal; one that is known already stays as it is."""
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    row: dict[str, Any] = {
        "signal_id": signal.signal_id,
        "queue": queue,
        "name": signal.name,
        "payload": json.dumps(signal.payload, ensure_ascii=False),
        "owner": signal.owner,
        "status": signal.status.value,
        "outcomes": [],
        "received_at": signal.received_at,
    }
    connection.execute(dialect.insert(signals).on_conflict_do_nothing(), row)


async def get(connection: AsyncConnection, queue: str, signal_id: str) -> Signal | None:
    """Return one signal."""
    where = (signals.c.queue == queue, signals.c.signal_id == signal_id)
    row = (await connection.execute(select(signals).where(*where))).mappings().one_or_none()
    return None if row is None else _signal(row)


def record(
    connection: Connection, signal_id: str, status: SignalStatus, outcomes: list[Outcome]
) -> None:
    """Note what became of a signal."""
    values = {
        "status": status.value,
        "outcomes": [outcome.model_dump(mode="json") for outcome in outcomes],
    }
    connection.execute(update(signals).where(signals.c.signal_id == signal_id).values(**values))


async def list_by_status(
    connection: AsyncConnection, queue: str, statuses: tuple[SignalStatus, ...], limit: int
) -> list[Signal]:
    """Return signals, newest first."""
    found = (
        select(signals)
        .where(signals.c.queue == queue, signals.c.status.in_(statuses))
        .order_by(signals.c.received_at.desc(), signals.c.signal_id)
        .limit(limit)
    )
    return [_signal(row) for row in (await connection.execute(found)).mappings()]


def forget_routed(connection: Connection, queue: str, before: datetime) -> None:
    """Forget signals that were routed before a moment."""
    where = (
        signals.c.queue == queue,
        signals.c.status == SignalStatus.ROUTED.value,
        signals.c.received_at < before,
    )
    connection.execute(delete(signals).where(*where))


def _signal(row: RowMapping) -> Signal:
    payload: Any = json.loads(row["payload"])
    return Signal(
        row["signal_id"],
        row["name"],
        payload,
        row["owner"],
        SignalStatus(row["status"]),
        tuple(Outcome.model_validate(outcome) for outcome in row["outcomes"]),
        row["received_at"],
    )
