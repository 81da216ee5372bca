"""What is sent to a saga while somebody else may hold it: an abort, a signal.

Anyone may put a message into the inbox; only the saga's holder takes it out, in the transaction
that writes what came of it. So nothing is lost, and nothing is taken twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, delete, exists, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.states import StepState
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.saga.waits import APPROVAL_PREFIX, is_wait
from mcp_orchestrator.store.schema.sagas import saga_checkpoints, saga_inbox, saga_signal_keys
from mcp_orchestrator.store.upserts import insert_into


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        saga_id: to whom.
        kind: ``abort``, with ``reason`` and ``compensate``; or ``signal``, with a name.
        body: what it says.
        sent_at: when.
        name: the name of a signal.
        user_id: by whom, when known.
        id: its number in the inbox, once it is there.
    """

    saga_id: str
    kind: Literal["abort", "signal"]
    body: JsonObject
    sent_at: datetime
    name: str | None = None
    user_id: str | None = None
    id: int = 0


def put(connection: Connection, message: Message, key: str | None = None) -> bool:
    """Put a message into the inbox, once for each key; False when it was there before."""
    if key is not None:
        first = insert_into(connection, saga_signal_keys).values(saga_id=message.saga_id, key=key)
        if connection.execute(first.on_conflict_do_nothing()).rowcount == 0:
            return False
    row = {
        "saga_id": message.saga_id,
        "kind": message.kind,
        "name": message.name,
        "body": message.body,
        "user_id": message.user_id,
        "sent_at": message.sent_at,
    }
    connection.execute(insert(saga_inbox).values(row))
    return True


def was_sent(connection: Connection, saga_id: str, key: str) -> bool:
    """Tell whether a saga has been sent a signal of this key."""
    same = (saga_signal_keys.c.saga_id == saga_id, saga_signal_keys.c.key == key)
    return connection.scalar(select(saga_signal_keys.c.key).where(*same)) is not None


def forget(connection: Connection, finished_before: datetime) -> None:
    """Drop what was sent to sagas that finished before a moment, and the keys it came under."""
    for table in (saga_signal_keys, saga_inbox):
        finished = exists().where(
            saga_checkpoints.c.saga_id == table.c.saga_id,
            saga_checkpoints.c.finished_at < finished_before,
        )
        connection.execute(delete(table).where(finished))


async def read(connection: AsyncConnection, saga_id: str) -> list[Message]:
    """Return a saga's messages, the oldest first."""
    query = select(saga_inbox).where(saga_inbox.c.saga_id == saga_id).order_by(saga_inbox.c.id)
    return [
        Message(row.saga_id, row.kind, row.body, row.sent_at, row.name, row.user_id, row.id)
        for row in await connection.execute(query)
    ]


def events_of(message: Message, record: SagaRecord, now: datetime) -> Sequence[SagaEvent]:
    """Return what a message makes happen to a saga that is not finished."""
    by: JsonObject = {"by": message.user_id} if message.user_id is not None else {}
    if message.kind == "signal":
        data: JsonObject = {"name": message.name, "body": message.body.get("value"), **by}
        decided = (message.name or "").startswith(APPROVAL_PREFIX)
        return [SagaEvent(EventType.APPROVAL if decided else EventType.SIGNAL, now, data=data)]
    asked = SagaEvent(EventType.ABORT_REQUESTED, now, data={**message.body, **by})
    if message.body.get("compensate") is False:
        return [asked]
    cut_off = [
        _cut_off(index, record, now)
        for index in record.progress.in_flight()
        if record.progress.steps[index].state is StepState.EXECUTING
    ]
    return [asked, *cut_off]


def _cut_off(index: int, record: SagaRecord, now: datetime) -> SagaEvent:
    """Return the end of a step that an abort cut off: nobody knows whether it had its effect."""
    step = record.definition.steps[index]
    uncertain = step.compensation is not None and not is_wait(step.action)
    data: JsonObject = {"error_type": "Aborted", "uncertain": uncertain}
    error = "It was cut off by the abort; its effect may have happened."
    return SagaEvent(EventType.STEP_FAILED, now, index, data, error=error)
