"""What a person can do to a saga that is finished or held: each with a reason, and audited."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.saga.catalog import KnownActions
from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.dispatcher import Dispatcher
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.evolution import evolve
from mcp_orchestrator.saga.identity import new_saga_id
from mcp_orchestrator.saga.journal import Journal, Origin
from mcp_orchestrator.saga.orders import Order, Preview
from mcp_orchestrator.saga.planning import is_to_undo, result_of
from mcp_orchestrator.saga.progress import SagaProgress
from mcp_orchestrator.saga.reading import read_record
from mcp_orchestrator.saga.reconciliation import Finding, reconcile
from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.saga.view import SagaView, saga_view
from mcp_orchestrator.store.canonical import as_json
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.leases import take_at_rest
from mcp_orchestrator.store.sagas import children_of, read_key
from mcp_orchestrator.store.sealing import Vault

_COMPLETED = StepState.COMPLETED


class Interventions:
    """Changes sagas by hand; a preview says what would be run, undone and skipped.

    Args:
        database: where the sagas are.
        committer: the process's one writer.
        journal: the only one that writes histories.
        actions: what this process can run.
        dispatcher: looks for the sagas that are set going again.
        clock: the time.
        runner_id: the name under which leases are held.
        vault: opens encrypted sagas.
    """

    def __init__(
        self,
        *,
        database: Database,
        committer: GroupCommitter,
        journal: Journal,
        actions: KnownActions,
        dispatcher: Dispatcher,
        clock: Clock,
        runner_id: str,
        vault: Vault,
    ) -> None:
        self._vault = vault
        self._database = database
        self._committer = committer
        self._journal = journal
        self._actions = actions
        self._dispatcher = dispatcher
        self._clock = clock
        self._runner_id = runner_id

    async def preview_retry(self, saga_id: str, skip: Mapping[str, JsonValue]) -> Preview:
        """Say what ``retry`` would do."""
        record = await self._load(saga_id)
        after = _fold(record, self._retry_events(record, Order("preview"), skip))
        return Preview(_open_steps(after), [], list(skip))

    async def retry(
        self,
        saga_id: str,
        order: Order,
        *,
        skip: Mapping[str, JsonValue] | None = None,
        new_input: JsonObject | None = None,
    ) -> SagaView:
        """Set a saga going again: every step that is not completed runs, with fresh attempts.

        A step that had been undone gets a new idempotency key; what it kept as memos stays.

        Args:
            saga_id: a saga that is FAILED, ABORTED or held.
            order: by whom and why.
            skip: steps that shall count as done, and what they shall have returned.
            new_input: what takes the place of the saga's input; the audit trail shows it.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is running or completed, or somebody else has just changed it.
            InvalidInputError: a skipped step does not exist, or the reason is empty.
        """
        record = await self._load(saga_id)
        return await self._apply(record, self._retry_events(record, order, skip or {}, new_input))

    async def preview_rewind(self, saga_id: str, to_step: str) -> Preview:
        """Say what ``rewind`` would do."""
        record = await self._load(saga_id)
        after = _fold(record, [self._rewind_event(record, Order("preview"), to_step)])
        runs = [s.name for s in after.steps if s.rewinding or s.state is not _COMPLETED]
        return Preview(runs, _to_undo(record, after), [])

    async def rewind(
        self, saga_id: str, order: Order, *, to_step: str, new_input: JsonObject | None = None
    ) -> SagaView:
        """Take a saga back to a step, and let it go forward again from there.

        What was done from that step on is undone first, in reverse; then those steps, and all
        others that are not completed, run with new idempotency keys and without their old memos.
        A completed step that has no compensation runs once more without having been undone. If
        a compensation fails for good the saga ends FAILED, with a list for a person.

        Args:
            saga_id: a saga that is finished or held.
            order: by whom and why.
            to_step: the first step that runs again, with those of its group; an earlier one
                where that is not completed.
            new_input: the saga's input from then on; what is undone still sees the old one.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is running, or somebody else has just changed it.
            InvalidInputError: there is no such step, or the reason is empty.
        """
        record = await self._load(saga_id)
        event = self._rewind_event(record, order, to_step, new_input)
        return await self._apply(record, [event])

    def _rewind_event(
        self,
        record: SagaRecord,
        order: Order,
        to_step: str,
        new_input: JsonObject | None = None,
    ) -> SagaEvent:
        first = record.definition.stage_of(to_step)[0]
        undone = [i for i in range(first) if record.progress.steps[i].state is not _COMPLETED]
        first = min([first, *undone])
        data = order.data(to_step=to_step, **_edited(new_input))
        return self._event(EventType.MANUAL_REWIND, data, first)

    async def preview_fork(self, saga_id: str, from_step: str) -> Preview:
        """Say what ``fork`` would do; its skipped steps are the first saga's own."""
        record = await self._load(saga_id)
        index = self._fork_point(record, from_step)
        names = [step.name for step in record.definition.steps]
        return Preview(names[index:], [], names[:index])

    async def fork(
        self, saga_id: str, order: Order, *, from_step: str, new_input: JsonObject | None = None
    ) -> SagaView:
        """Start a new saga that has the results of a finished one up to a step, and runs the rest.

        The effects before that step stay the first saga's: the new one never undoes them.

        Args:
            saga_id: a saga that is finished or held; it is not changed.
            order: by whom and why.
            from_step: the first step that runs.
            new_input: the new saga's input; the old one's where none is given.

        Returns:
            The new saga.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is running, or a step before has no result to take over.
            InvalidInputError: there is no such step, or the reason is empty.
        """
        record = await self._load(saga_id)
        index = self._fork_point(record, from_step)
        data = order.data(forked_from=saga_id, from_step=from_step)
        borrowed = [
            self._event(
                EventType.STEP_SKIPPED,
                {**result_of(record.progress, step.name), "borrowed": True},
                number,
            )
            for number, step in enumerate(record.definition.steps[:index])
        ]
        given = record.progress.context["input"] if new_input is None else as_json(new_input)
        forked = await self._journal.create(
            new_saga_id(self._clock.now()), record.definition,
            given if isinstance(given, dict) else {}, Origin(record.user_id, record.ip_address),
            [self._event(EventType.FORKED, data), *borrowed], leased=False,
        )  # fmt: skip
        self._dispatcher.nudge()
        return saga_view(forked.row, forked.progress)

    def _fork_point(self, record: SagaRecord, from_step: str) -> int:
        stage = record.definition.stage_of(from_step)
        for step in record.progress.steps[: stage[0]]:
            if not result_of(record.progress, step.name):
                raise ConflictError(
                    f"Step {step.name!r} of saga {record.saga_id!r} has no result.",
                    remedy="Fork from it or from an earlier step.",
                )
        return stage[0]

    async def reconcile(self, saga_id: str, order: Order) -> list[Finding]:
        """Compare what the store believes of a saga at rest with what its probes find.

        The saga is not changed; who asked, why and what was found goes into its audit trail.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is running, or somebody else has just changed it.
            InvalidInputError: the reason is empty.
            UnknownNameError: a probe is not registered in this process.
        """
        data = order.data()
        record = await self._load(saga_id)
        findings = await reconcile(record, self._actions.find)
        found: JsonObject = {finding.step: finding.happened for finding in findings}
        await self._apply(record, [self._event(EventType.RECONCILED, {**data, "happened": found})])
        return findings

    async def preview_compensate(self, saga_id: str) -> Preview:
        """Say what ``compensate`` would do."""
        record = await self._load(saga_id)
        after = _fold(record, [self._event(EventType.MANUAL_COMPENSATE, {})])
        return Preview([], _to_undo(record, after), [])

    async def compensate(self, saga_id: str, order: Order) -> SagaView:
        """Undo every completed step, and try again what could not be undone.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is running, or somebody else has just changed it.
        """
        record = await self._load(saga_id)
        event = self._event(EventType.MANUAL_COMPENSATE, order.data())
        return await self._apply(record, [event])

    async def preview_resolve(self, saga_id: str, happened: Mapping[str, JsonValue]) -> Preview:
        """Say what ``resolve`` would do."""
        record = await self._load(saga_id)
        after = _fold(record, self._resolve_events(record, Order("preview"), happened))
        if after.state.is_finished:
            return Preview([], [], [])
        if after.state is SagaState.COMPENSATING:
            return Preview([], _to_undo(record, after), [])
        return Preview(_open_steps(after), [], list(happened))

    async def resolve(
        self,
        saga_id: str,
        order: Order,
        *,
        happened: Mapping[str, JsonValue] | None = None,
    ) -> SagaView:
        """Say that what needed a person is settled; a held saga goes on.

        Args:
            saga_id: a saga that is held, or finished with a list for a person.
            order: by whom and why.
            happened: steps in flight whose effect did happen, and what they returned; the
                others in flight are repeated with the same idempotency key.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: nothing needs a person, or somebody else has just changed it.
        """
        record = await self._load(saga_id)
        return await self._apply(record, self._resolve_events(record, order, happened or {}))

    def _resolve_events(
        self, record: SagaRecord, order: Order, happened: Mapping[str, JsonValue]
    ) -> list[SagaEvent]:
        if not record.progress.needs_person:
            raise ConflictError(f"Saga {record.saga_id!r} needs nobody.")
        held = record.progress.held_reason is not None
        kind = EventType.RELEASED if held else EventType.MANUAL_RESOLVE
        done = [
            self._event(
                EventType.STEP_COMPLETE,
                {"result": as_json(result), "resolved": True},
                record.definition.index_of(name),
            )
            for name, result in happened.items()
        ]
        return [*done, self._event(kind, order.data())]

    async def erase(self, saga_id: str, order: Order) -> None:
        """Destroy the data key of a finished saga, and those of its children.

        Its input, results, memos and what its audit trail says can never be read again; the
        trail's chain still verifies. The reason stays readable.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is not finished, is not encrypted, or was erased already.
        """
        data = order.data()
        record = await self._load(saga_id)
        if not record.progress.state.is_finished:
            raise ConflictError(f"Saga {saga_id!r} is not finished.", remedy="Abort it first.")
        if record.cipher is None:
            raise ConflictError(
                f"Saga {saga_id!r} is not encrypted, and its trail cannot be changed.",
                remedy="Sagas are encrypted from when a master key is set.",
            )
        async with self._database.read() as connection:
            children = await children_of(connection, saga_id)
            keys = [(child, await read_key(connection, child)) for child in children]
        for child, key in keys:
            if key["wrapped_key"] is not None:
                await self.erase(child, order)
        await self._apply(record, [self._event(EventType.ERASED, data)], erase=True)

    def _retry_events(
        self,
        record: SagaRecord,
        order: Order,
        skip: Mapping[str, JsonValue],
        new_input: JsonObject | None = None,
    ) -> list[SagaEvent]:
        if all(step.state is _COMPLETED for step in record.progress.steps):
            raise ConflictError(f"Saga {record.saga_id!r} has nothing left to run.")
        skipped = [
            self._event(
                EventType.STEP_SKIPPED,
                order.data(result=as_json(result)),
                record.definition.index_of(name),
            )
            for name, result in skip.items()
        ]
        asked = self._event(EventType.MANUAL_RETRY, order.data(**_edited(new_input)))
        return [asked, *skipped]

    def _event(self, kind: EventType, data: JsonObject, step: int | None = None) -> SagaEvent:
        return SagaEvent(kind, self._clock.now(), step, data)

    async def _load(self, saga_id: str) -> SagaRecord:
        record = await read_record(self._database, self._vault, self._actions, saga_id)
        if record.row["erased_at"] is not None:
            raise ConflictError(f"The data of saga {saga_id!r} were erased.")
        if not record.progress.is_at_rest:
            raise ConflictError(
                f"Saga {saga_id!r} is {record.progress.state}.",
                remedy="Wait until it is finished or held, or abort it first.",
            )
        return record

    async def _apply(
        self, record: SagaRecord, events: Sequence[SagaEvent], *, erase: bool = False
    ) -> SagaView:
        """Check, take the saga, write, and let whoever has room go on with it."""
        _fold(record, events)
        saga_id, epoch, now = record.saga_id, record.epoch, self._clock.now()
        taken = await self._committer.submit(
            lambda c: take_at_rest(c, self._runner_id, saga_id, epoch, now)
        )
        if not taken:
            raise ConflictError(
                f"Saga {saga_id!r} was changed by somebody else just now.",
                remedy="Look at it again before you decide.",
            )
        mine = await self._load(saga_id)
        if erase:  # what is left to say of it is in plain text
            mine = mine._replace(cipher=None)
        written = await self._journal.append(mine, events, release=True, erase=erase)
        self._dispatcher.nudge()
        return saga_view(written.row, written.progress)


def _edited(new_input: JsonObject | None) -> JsonObject:
    """Return what an event says of an input that takes the old one's place."""
    return {} if new_input is None else {"input": as_json(new_input)}


def _open_steps(progress: SagaProgress) -> list[str]:
    return [step.name for step in progress.steps if step.state is not _COMPLETED]


def _to_undo(record: SagaRecord, after: SagaProgress) -> list[str]:
    indexes = range(len(after.steps) - 1, -1, -1)
    return [after.steps[i].name for i in indexes if is_to_undo(record.definition, after, i)]


def _fold(record: SagaRecord, events: Sequence[SagaEvent]) -> SagaProgress:
    progress = record.progress
    for event in events:
        progress = evolve(progress, event)
    return progress
