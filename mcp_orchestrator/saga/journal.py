"""The only one that writes what happens to sagas: checkpoint, audit events and memos together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import anyio

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.saga.checkpoint import FAR_FUTURE, SagaRecord, checkpoint_columns, wake_at
from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.metrics import SagaMetrics
from mcp_orchestrator.saga.progress import SagaProgress, begin
from mcp_orchestrator.saga.tracing import SagaTraces
from mcp_orchestrator.saga.trail import Trail
from mcp_orchestrator.saga.values import JsonObject, JsonValue
from mcp_orchestrator.store.canonical import canonical_json
from mcp_orchestrator.store.chain import GENESIS
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.sagas import CheckpointWrite, write_checkpoints
from mcp_orchestrator.store.sealing import PlainVault, Vault
from mcp_orchestrator.telemetry.tracing import Tracing, current_traceparent

#: What every write names: it is how a write that is on disk already is known.
_HEAD = frozenset({"audit_sequence", "audit_hash"})

Follow = Callable[[SagaProgress], Sequence[SagaEvent]]


@dataclass(frozen=True, slots=True)
class Origin:
    """By whom and how a saga was started.

    Attributes:
        user_id: the principal, when known.
        ip_address: from where.
        idempotency_key: what the caller will repeat when it asks again.
        parent_saga_id: the saga it is a part of.
    """

    user_id: str | None = None
    ip_address: str | None = None
    idempotency_key: str | None = None
    parent_saga_id: str | None = None


class Journal:
    """Writes sagas' histories.

    Args:
        committer: the process's one writer.
        clock: the time.
        runner_id: the name under which this process holds leases.
        metrics: what counts the writes; nothing for none.
        vault: makes the data keys of new sagas; by default they are in plain text.
        traces: records the sagas that have ended; nothing does if left out.
    """

    def __init__(
        self,
        committer: GroupCommitter,
        clock: Clock,
        runner_id: str,
        metrics: SagaMetrics | None = None,
        vault: Vault | None = None,
        *,
        traces: SagaTraces | None = None,
    ) -> None:
        self._vault = vault or PlainVault()
        self._metrics = metrics
        self._traces = traces or SagaTraces(Tracing())
        self._committer = committer
        self._clock = clock
        self._runner_id = runner_id

    async def create(
        self,
        saga_id: str,
        definition: SagaDefinition,
        input: JsonObject,  # noqa: A002 - the word that references use
        origin: Origin,
        events: Sequence[SagaEvent],
        *,
        leased: bool,
    ) -> SagaRecord:
        """Write a new saga; it is on disk when this returns.

        Args:
            saga_id: its id.
            definition: what it runs.
            input: what it is given.
            origin: by whom it was started.
            events: what happens to it at once, after its ``saga_start``.
            leased: whether this process runs it from the start.

        Returns:
            The saga, for whoever runs it.

        Raises:
            DuplicateKeyError: the user has started a saga with the same key.
        """
        now = self._clock.now()
        cipher, key = await self._vault.new_key(saga_id)
        record = SagaRecord(
            saga_id, definition, begin(definition, input), origin.user_id, origin.ip_address,
            epoch=1 if leased else 0, sequence=0, head=GENESIS, cipher=cipher,
        )  # fmt: skip
        start = SagaEvent(
            EventType.SAGA_START, now,
            data={"definition_hash": definition.content_hash, "version": definition.version},
        )  # fmt: skip
        trail = Trail(record, self._runner_id)
        trail.add((start, *events))
        record = trail.record()
        row = {
            "saga_id": saga_id,
            "saga_type": definition.name,
            "version": definition.version,
            "definition_hash": definition.content_hash,
            "total_steps": len(definition.steps),
            "user_id": origin.user_id,
            "ip_address": origin.ip_address,
            "idempotency_key": origin.idempotency_key,
            "parent_saga_id": origin.parent_saga_id,
            "traceparent": current_traceparent(),
            "started_at": now,
            "wake_at": None,
            "lease_owner": self._runner_id if leased else None,
            "epoch": record.epoch,
            **checkpoint_columns(record, now),
        }
        body = {
            "definition_hash": definition.content_hash,
            "name": definition.name,
            "version": definition.version,
            "body": definition.text,
            "created_at": now,
        }
        record = record._replace(row={**row, "body": definition.body})
        write = CheckpointWrite(saga_id, record.epoch, 0, row, body, trail.rows, key=key)
        await self._submit(write, record, trail.events)
        return record

    async def append(
        self,
        record: SagaRecord,
        events: Sequence[SagaEvent],
        *,
        memo: tuple[str, JsonValue] | None = None,
        consumed: Sequence[int] = (),
        release: bool = False,
        erase: bool = False,
        follow: Follow | None = None,
    ) -> SagaRecord:
        """Write what happened to a saga; it is on disk when this returns.

        Args:
            record: the saga as it was.
            events: what happened, in order.
            memo: name and value of a memo to keep.
            consumed: ids of the messages in the inbox that the events stand for.
            release: give the lease back with the same write, for whoever sees it.
            erase: destroy the saga's data key and what is not under it with the same write.
            follow: says what follows by itself from the saga as the events leave it.

        Returns:
            The saga as it is now.

        Raises:
            ConflictError: the saga's state does not allow an event; nothing was written.
            StaleLeaseError: somebody else has taken the saga over.
            BackendUnavailableError: the database failed.
        """
        trail = Trail(record, self._runner_id)
        trail.add(events)
        if follow is not None:
            trail.add(follow(trail.progress))
        extended = trail.record()
        now = self._clock.now()
        owner = None if release or extended.progress.is_at_rest else self._runner_id
        columns = {
            **checkpoint_columns(extended, now),
            "wake_at": wake_at(extended.progress),
            "lease_owner": owner,
        }
        memos = [_memo_row(record, *memo, now)] if memo is not None else []
        extended = extended._replace(row={**record.row, **columns})
        write = CheckpointWrite(
            record.saga_id, record.epoch, record.sequence, _changed(record.row, columns),
            events=trail.rows, memos=memos, consumed=consumed, erased_at=now if erase else None,
        )  # fmt: skip
        await self._submit(write, extended, trail.events)
        return extended

    async def park(self, record: SagaRecord) -> None:
        """Let go of a saga that only waits; whoever sees it wake goes on with it."""
        columns = {
            **checkpoint_columns(record, self._clock.now()),
            "wake_at": wake_at(record.progress) or FAR_FUTURE,
            "lease_owner": None,
        }
        write = CheckpointWrite(record.saga_id, record.epoch, record.sequence, columns)
        await self._submit(write, record, ())

    async def _submit(
        self, write: CheckpointWrite, record: SagaRecord, events: Sequence[SagaEvent]
    ) -> None:
        began = self._clock.monotonic()
        # A cancelled caller must still know whether its write was kept: it is a matter of ms.
        with anyio.CancelScope(shield=True):
            await self._committer.submit_to(write_checkpoints, write)
        if self._metrics is not None:
            self._metrics.written(record, events, self._clock.monotonic() - began)
        self._traces.written(record, events)


def _changed(row: Mapping[str, object], columns: Mapping[str, object]) -> dict[str, object]:
    """Leave out what is on disk already, so that the indexes of those columns are let alone.

    Nothing but a new epoch lets anybody else write to the row, and the write checks the epoch.
    """
    return {
        name: value
        for name, value in columns.items()
        if name in _HEAD or name not in row or row[name] != value
    }


def _memo_row(record: SagaRecord, name: str, value: JsonValue, now: datetime) -> dict[str, object]:
    if record.cipher is not None:
        value = record.cipher.seal_json(memo_place(name), canonical_json(value))
    return {"saga_id": record.saga_id, "name": name, "value": value, "recorded_at": now}


def memo_place(name: str) -> str:
    """Return the place that a sealed memo is bound to."""
    return f"memo/{name}"
