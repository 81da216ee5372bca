"""The sagas that this process runs: those started here, and those it finds that nobody runs."""

import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import (
    ConfigurationError,
    InvalidInputError,
    OrchestratorError,
    StaleLeaseError,
)
from mcp_orchestrator.saga import inbox
from mcp_orchestrator.saga.attempt import wait_bounded
from mcp_orchestrator.saga.catalog import KnownActions
from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.heartbeat import Heartbeat
from mcp_orchestrator.saga.metrics import SagaMetrics
from mcp_orchestrator.saga.reading import read_record
from mcp_orchestrator.saga.runner import SagaRun, Surroundings
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.leases import (
    claim,
    end_lease,
    find_free,
    held_by,
    mine_with_messages,
    next_wake,
    renew_lease,
)
from mcp_orchestrator.store.sagas import read_checkpoint
from mcp_orchestrator.telemetry.correlation import correlated

_log = logging.getLogger(__name__)

#: How long a signal's key still counts once its saga is finished.
KEYS_KEPT = timedelta(days=7)
_TIDY_EVERY = timedelta(hours=1)


@dataclass(eq=False)
class Ending:
    """When a saga stops running in this process, and how it was written last."""

    happened: anyio.Event = field(default_factory=anyio.Event)
    record: SagaRecord | None = None


class Dispatcher:
    """Runs sagas at the same time, and looks for free ones in a jittered loop that never ends.

    Args:
        database: where they are.
        committer: the process's one writer.
        actions: what this process can run.
        around: what every run shares.
        runner_id: the name under which leases are held; unique to this life of this process.
        lease_seconds: how long others wait before they take over from a silent process.
        max_concurrent: how many sagas run here at the same time.
        max_takeovers: a saga whose runners died so often in a row is held for a person.
        metrics: what counts the runs; nothing for none.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        actions: KnownActions,
        around: Surroundings,
        *,
        runner_id: str,
        lease_seconds: float,
        max_concurrent: int,
        max_takeovers: int,
        metrics: SagaMetrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._database = database
        self._committer = committer
        self._actions = actions
        self._around = around
        self._clock: Clock = around.clock
        self._chance: random.Random = around.chance
        self._runner_id = runner_id
        self._lease_seconds = lease_seconds
        self._max_concurrent = max_concurrent
        self._max_takeovers = max_takeovers
        self._runs: dict[str, SagaRun | None] = {}
        self._doubtful_until = -math.inf
        self._tidy_at = -math.inf
        self._unknown: set[str] = set()
        self._sealed: set[str] = set()
        self._tasks: TaskGroup | None = None
        self._nudged = anyio.Event()
        self._endings: dict[str, Ending] = {}
        around.resting.on_more = self.nudge

    @property
    def has_room(self) -> bool:
        """Whether one more saga can run here now."""
        return self._tasks is not None and self._room() > 0

    def _room(self) -> int:
        """Return how many more sagas can run here; those that only wait hold no place."""
        return self._max_concurrent - len(self._runs) + self._around.resting.count

    def reserve(self, saga_id: str) -> None:
        """Keep a place for a saga that is being written."""
        self._runs[saga_id] = None

    def give_up(self, saga_id: str, *, in_doubt: bool) -> None:
        """Give a kept place back; in doubt, the saga may have been written all the same."""
        self._runs.pop(saga_id, None)
        if in_doubt:
            self._doubt()

    def adopt(self, record: SagaRecord) -> None:
        """Run a saga that was written under this process's lease just now."""
        self._begin(SagaRun(record, self._around, fresh=True))

    def notify(self, saga_id: str, *, urgent: bool) -> None:
        """Say that a saga has a message, wherever it runs."""
        run = self._runs.get(saga_id)
        if run is not None:
            run.notify(urgent=urgent)
        self.nudge()

    def nudge(self) -> None:
        """Look for free sagas now."""
        self._nudged.set()

    def ending(self, saga_id: str) -> "Ending":
        """Return what tells when the saga stops running here."""
        return self._endings.setdefault(saga_id, Ending())

    def forget(self, saga_id: str) -> None:
        """Drop what nobody waits for."""
        if saga_id not in self._runs:
            self._endings.pop(saga_id, None)

    def _doubt(self) -> None:
        """Look for a while for sagas under this process's lease that do not run here.

        A COMMIT whose answer was lost may have happened, and show a moment later.
        """
        self._doubtful_until = self._clock.monotonic() + self._lease_seconds

    def runs_here(self, saga_id: str) -> bool:
        """Tell whether a saga runs in this process."""
        return saga_id in self._runs

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run sagas until cancelled; then free them, so that others go on at once.

        Args:
            task_status: told when sagas can be started.
        """
        until = self._clock.now() + timedelta(seconds=self._lease_seconds)
        await self._committer.submit(lambda c: renew_lease(c, self._runner_id, until))
        try:
            async with (
                Heartbeat(self._database, self._runner_id, self._lease_seconds, self._clock),
                anyio.create_task_group() as self._tasks,
            ):
                task_status.started()
                while True:
                    await self._pause(await self._sweep())
                    await self._tidy()
        finally:
            self._tasks = None
            self._runs.clear()
            with anyio.CancelScope(shield=True):
                await self._end_lease()

    async def _end_lease(self) -> None:
        now = self._clock.now()
        try:
            await self._committer.submit(lambda c: end_lease(c, self._runner_id, now))
        except OrchestratorError as error:  # others wait until it runs out
            _log.warning("the saga lease could not be given back: %s", error)

    async def _sweep(self) -> float:
        """Take what is free and deliver messages.

        Returns:
            Seconds until the next look is due.
        """
        self._nudged = anyio.Event()
        interval = min(1.0, self._lease_seconds / 5) * self._chance.uniform(0.75, 1.25)
        now = self._clock.now()
        try:
            async with self._database.read() as connection:
                lost = await self._find_lost(connection)
                free = await self._find_free(connection, lost)
                written_to = await mine_with_messages(connection, self._runner_id)
                wakes = await next_wake(connection, now)
            for saga_id in written_to:
                run = self._runs.get(saga_id)
                if run is not None:
                    run.notify(urgent=await self._is_urgent(saga_id))
            if free:
                await self._take(free, lost)
        except Exception as error:  # the database may be back at the next look
            self._doubt()
            _log.warning("looking for free sagas failed: %s", error)
            return interval
        if wakes is not None:
            interval = min(interval, max((wakes - now).total_seconds(), 0.0))
        return interval

    async def _tidy(self) -> None:
        """Drop, now and then, what was sent to sagas that finished long ago."""
        if self._clock.monotonic() < self._tidy_at:
            return
        self._tidy_at = self._clock.monotonic() + _TIDY_EVERY.total_seconds()
        before = self._clock.now() - KEYS_KEPT
        try:
            await self._committer.submit(lambda c: inbox.forget(c, before))
        except OrchestratorError as error:  # there is another time
            _log.warning("old signals were not dropped: %s", error)

    async def _find_lost(self, connection: AsyncConnection) -> Sequence[str]:
        """Return sagas under this process's lease that do not run here, as many as have room."""
        if self._clock.monotonic() > self._doubtful_until:
            return ()
        mine = await held_by(connection, self._runner_id)
        return [saga_id for saga_id in mine if saga_id not in self._runs][: max(self._room(), 0)]

    async def _find_free(self, connection: AsyncConnection, lost: Sequence[str]) -> Sequence[str]:
        room = self._room()
        if room <= 0:
            return ()
        found = await find_free(
            connection, self._clock.now(), room,
            lost_by=self._runner_id, lost=lost, without=tuple(self._unknown),
        )  # fmt: skip
        return [saga_id for saga_id in found if saga_id not in self._runs]

    async def _is_urgent(self, saga_id: str) -> bool:
        messages = await self._around.read_inbox(saga_id)
        return any(message.kind == "abort" for message in messages)

    async def _take(self, saga_ids: Sequence[str], lost: Sequence[str]) -> None:
        runnable = [saga_id for saga_id in saga_ids if await self._can_run(saga_id)]
        if not runnable:
            return
        now = self._clock.now()
        taken = await self._committer.submit(
            lambda c: claim(c, self._runner_id, runnable, now, lost=lost)
        )
        for saga_id, former in taken.items():
            record = await read_record(self._database, self._around.vault, self._actions, saga_id)
            if self._metrics is not None:
                self._metrics.taken(record)
            if former is not None and not record.progress.in_flight():
                record = record._replace(takeovers=0)  # no action of it can have killed its runner
            opening = self._opening(record, former) if former is not None else []
            self._begin(SagaRun(record, self._around, fresh=False, opening=opening))

    def _opening(self, record: SagaRecord, former: str) -> list[SagaEvent]:
        now = self._clock.now()
        events = [SagaEvent(EventType.TAKEOVER, now, data={"from": former})]
        if record.takeovers > self._max_takeovers and record.progress.held_reason is None:
            reason = f"Its runners stopped {record.takeovers} times in a row while running it."
            events.append(SagaEvent(EventType.HELD, now, error=reason))
        return events

    async def _can_run(self, saga_id: str) -> bool:
        async with self._database.read() as connection:
            row = await read_checkpoint(connection, saga_id)
        try:
            await self._around.vault.cipher_of(row)
        except ConfigurationError as error:
            if saga_id not in self._sealed:
                self._sealed.add(saga_id)
                _log.warning("saga %s is left to others: %s", saga_id, error)
            return False
        why = "actions are missing here"
        try:
            definition = self._actions.definition(row["definition_hash"], row["body"])
            if self._actions.can_run(definition):
                return True
        except InvalidInputError as error:  # of another release, say; it must not stop the rest
            why = str(error)
        self._unknown.add(row["definition_hash"])
        _log.warning("saga type %s is left to others: %s", row["saga_type"], why)
        return False

    def _begin(self, run: SagaRun) -> None:
        saga_id = run.record.saga_id
        if self._tasks is None:  # closing; the lease is given back with the others
            self._runs.pop(saga_id, None)
            return
        self._runs[saga_id] = run
        self._tasks.start_soon(self._drive, run, name=f"saga {saga_id}")

    async def _drive(self, run: SagaRun) -> None:
        saga_id, saga_type = run.record.saga_id, run.record.definition.name
        if self._metrics is not None:
            self._metrics.runs_here(saga_type, +1)
        try:
            with correlated(saga_id=saga_id, principal=run.record.user_id):
                await run.drive()
        except StaleLeaseError as error:
            _log.info("%s", error)
        except OrchestratorError as error:
            _log.warning("saga %s stops here until the store answers: %s", saga_id, error)
            self._doubt()
        except Exception:  # a fault of ours must not stop the other sagas
            _log.exception("saga %s stops here", saga_id)
            self._doubt()
        finally:
            if self._metrics is not None:
                self._metrics.runs_here(saga_type, -1)
            self._runs.pop(saga_id, None)
            ending = self._endings.pop(saga_id, None)
            if ending is not None:
                ending.record = run.record
                ending.happened.set()
            if self._room() == 1:
                self.nudge()

    async def _pause(self, seconds: float) -> None:
        """Wait for a time, or until somebody nudges."""
        await wait_bounded(self._nudged, seconds, self._clock)
