"""The saga engine: one for each process, any number of processes for one database."""

import random
import uuid
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.errors import BackendUnavailableError, ConflictError, InvalidInputError
from mcp_orchestrator.saga import inbox
from mcp_orchestrator.saga.attempt import wait_bounded
from mcp_orchestrator.saga.catalog import KnownActions
from mcp_orchestrator.saga.children import Children
from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.saga.dispatcher import Dispatcher
from mcp_orchestrator.saga.identity import new_saga_id
from mcp_orchestrator.saga.intervention import Interventions
from mcp_orchestrator.saga.journal import Journal, Origin, memo_place
from mcp_orchestrator.saga.metrics import SagaMetrics
from mcp_orchestrator.saga.orders import Order
from mcp_orchestrator.saga.planning import consequences
from mcp_orchestrator.saga.progress import begin
from mcp_orchestrator.saga.reading import SagaReader
from mcp_orchestrator.saga.registered import RegisteredDefinitions
from mcp_orchestrator.saga.resting import Resting
from mcp_orchestrator.saga.runner import Surroundings
from mcp_orchestrator.saga.states import SagaState
from mcp_orchestrator.saga.step import ActionCatalog
from mcp_orchestrator.saga.tracing import SagaTraces
from mcp_orchestrator.saga.values import JsonObject, JsonValue
from mcp_orchestrator.saga.view import SagaView, saga_view
from mcp_orchestrator.saga.waits import APPROVAL_PREFIX
from mcp_orchestrator.store.canonical import as_json
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.sagas import (
    DuplicateKeyError,
    children_of,
    find_by_key,
    read_key,
    read_memos,
)
from mcp_orchestrator.store.sealing import Vault
from mcp_orchestrator.telemetry.tracing import Tracing

#: The longest input of a saga, in characters of JSON.
LONGEST_INPUT = 1_000_000

#: How often a saga that another process runs is looked at, in seconds.
_POLL = 0.25


class SagaEngine(SagaReader):
    """Starts sagas, runs them, takes over those whose process died, and shows them.

    Without ``run`` (or the ``async with``) it still starts, shows and aborts sagas; another
    process then runs them.

    Attributes:
        runner_id: the name under which it holds leases.
        by_hand: what a person can do to a saga that is finished or held.
        definitions: those that are kept under a name and a version.

    Args:
        database: the store.
        committer: the process's one writer; it must outlive the engine.
        actions: the registered actions.
        runner_id: this process's name, for people; a unique part is added to it.
        lease_seconds: how long others wait before they take over from a silent process.
        clock: the time.
        max_concurrent: how many sagas run in this process at the same time.
        max_takeovers: a saga whose runners died so often in a row is held for a person.
        chance: for jitter; give a seeded one to repeat a test.
        metrics: what counts, for Prometheus; nothing for none.
        vault: encrypts new sagas and opens encrypted ones; by default nothing is.
        tracing: records sagas and steps; nothing does if left out.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        actions: ActionCatalog,
        *,
        runner_id: str,
        lease_seconds: float = 10.0,
        clock: Clock | None = None,
        max_concurrent: int = 1000,
        max_takeovers: int = 5,
        chance: random.Random | None = None,
        metrics: SagaMetrics | None = None,
        vault: Vault | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        super().__init__(database, vault)
        self._committer = committer
        self._clock = clock or SystemClock()
        self._actions = KnownActions(actions)
        self.runner_id = f"{runner_id}:{uuid.uuid4().hex[:12]}"
        traces = SagaTraces(tracing or Tracing())
        self._journal = Journal(
            committer, self._clock, self.runner_id, metrics, self._vault, traces=traces
        )
        around = Surroundings(
            self._journal, self._clock, chance or random.Random(), self._actions.find,
            self._read_memos, self._read_inbox, self._vault, Resting(), traces,
        )  # fmt: skip
        self._dispatcher = Dispatcher(
            database, committer, self._actions, around,
            runner_id=self.runner_id, lease_seconds=lease_seconds,
            max_concurrent=max_concurrent, max_takeovers=max_takeovers, metrics=metrics,
        )  # fmt: skip
        self.by_hand = Interventions(
            database=database, committer=committer, journal=self._journal, actions=self._actions,
            dispatcher=self._dispatcher, clock=self._clock, runner_id=self.runner_id,
            vault=self._vault,
        )  # fmt: skip
        self.definitions = RegisteredDefinitions(database, committer, self._actions, self._clock)
        self._actions.add_built_in(Children(self, self._clock).actions())
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        """Run sagas in the background."""
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        await self._tasks.start(self._dispatcher.run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop running sagas and free them; others, or the next start, go on with them."""
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(kind, error, trace)

    async def run(self) -> None:
        """Run sagas started here and take over those nobody runs, until cancelled.

        When it is cancelled the sagas are left as they are, resumable, and are freed so that
        others go on with them at once.
        """
        await self._dispatcher.run()

    def admit(self, definition: SagaDefinition) -> None:
        """Make the functions of a definition known, so that its sagas can be taken over here.

        Raises:
            InvalidInputError: an action is unknown; the message has its JSON path.
        """
        self._actions.admit(definition)

    async def start(
        self,
        definition: SagaDefinition,
        input: JsonObject,  # noqa: A002 - the word that references use
        *,
        idempotency_key: str | None = None,
        user_id: str | None = None,
        ip_address: str | None = None,
        parent_saga_id: str | None = None,
    ) -> SagaView:
        """Start a saga; it is on disk, with its definition and audit trail, when this returns.

        Args:
            definition: what to run.
            input: what ``{"$ref": "input.…"}`` points into.
            idempotency_key: the same key of the same user gives the first one's view again.
            user_id: for whom it runs.
            ip_address: from where it was asked for.
            parent_saga_id: the saga it is a part of; aborting that one aborts it too.

        Raises:
            InvalidInputError: an action is unknown or the input is not JSON; nothing was written.
            LimitExceededError: the input is too long; nothing was written.
            BackendUnavailableError: the database failed.
        """
        self.admit(definition)
        given = _checked(input)
        origin = Origin(user_id, ip_address, idempotency_key, parent_saga_id)
        saga_id = new_saga_id(self._clock.now())
        try:
            return await self._create(saga_id, definition, given, origin)
        except (DuplicateKeyError, BackendUnavailableError):
            earlier = await self._find_by_key(idempotency_key, user_id)
            if earlier is None:
                raise
        return await self.get(earlier)

    async def _create(
        self, saga_id: str, definition: SagaDefinition, given: JsonObject, origin: Origin
    ) -> SagaView:
        if not self._dispatcher.has_room:
            record = await self._journal.create(
                saga_id, definition, given, origin, [], leased=False
            )
            return saga_view(record.row, record.progress)
        intents = consequences(definition, begin(definition, given), self._clock.now())
        self._dispatcher.reserve(saga_id)
        try:
            record = await self._journal.create(
                saga_id, definition, given, origin, intents, leased=True
            )
        except BaseException as error:
            in_doubt = not isinstance(error, ConflictError)
            self._dispatcher.give_up(saga_id, in_doubt=in_doubt)
            raise
        self._dispatcher.adopt(record)
        return saga_view(record.row, record.progress)

    async def wait_for(self, saga_id: str, timeout: float) -> SagaView:
        """Wait until a saga is finished, or held for a person, and return it.

        Args:
            saga_id: the saga.
            timeout: seconds to wait at the most; then it is returned as it is.

        Raises:
            NotFoundError: there is no such saga.
        """
        deadline = self._clock.monotonic() + timeout
        try:
            while True:
                left = deadline - self._clock.monotonic()
                ending = self._dispatcher.ending(saga_id)
                here = self._dispatcher.runs_here(saga_id) and left > 0
                view = None if here else await self.get(saga_id)
                if view is not None and (view.is_settled or left <= 0):
                    return view
                await wait_bounded(ending.happened, left if here else min(left, _POLL), self._clock)
                if ending.happened.is_set():
                    last = ending.record
                    if last is not None and (view := saga_view(last.row, last.progress)).is_settled:
                        return view
        finally:
            self._dispatcher.forget(saga_id)

    async def abort(
        self,
        saga_id: str,
        reason: str,
        *,
        compensate: bool = True,
        user_id: str | None = None,
    ) -> SagaView:
        """Ask a saga to stop, wherever it runs; the request is on disk when this returns.

        What is in flight is cancelled. The saga ends ABORTED, and so do its children.

        Args:
            saga_id: the saga.
            reason: why; the audit trail keeps it.
            compensate: whether completed steps are undone first; otherwise they are listed
                for a person.
            user_id: who asks.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is finished, or is compensating already.
        """
        view = await self.get(saga_id)
        if view.state.is_finished or (compensate and view.state is SagaState.COMPENSATING):
            raise ConflictError(
                f"Saga {saga_id!r} is {view.state} already.",
                remedy="There is nothing left to abort; look at its audit trail.",
            )
        body: JsonObject = {"reason": reason, "compensate": compensate}
        message = inbox.Message(saga_id, "abort", body, self._clock.now(), user_id=user_id)
        await self._committer.submit(lambda connection: inbox.put(connection, message))
        self._dispatcher.notify(saga_id, urgent=True)
        for child in await self._open_children(saga_id):
            with suppress(ConflictError):  # it has ended, or is going back, by itself
                await self.abort(child, reason, compensate=compensate, user_id=user_id)
        return await self.get(saga_id)

    async def signal(
        self,
        saga_id: str,
        name: str,
        value: JsonValue = None,
        *,
        user_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Send a signal to a saga; it is on disk when this returns, and waits to be awaited.

        Args:
            saga_id: the saga.
            name: what a step that uses ``saga.wait_for_signal`` waits for.
            value: what that step returns.
            user_id: who sends it.
            idempotency_key: a signal of the same key is sent to a saga once, however often asked.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is finished.
            InvalidInputError: the value is not JSON.
        """
        if name.startswith(APPROVAL_PREFIX):
            raise InvalidInputError("A signal is no approval.", remedy="Let a person approve it.")
        await self._send(saga_id, name, as_json(value), user_id, idempotency_key)

    async def approve(
        self, saga_id: str, approval: str, order: Order, *, approved: bool = True
    ) -> None:
        """Give a person's decision to a saga; it is on disk when this returns.

        Args:
            saga_id: the saga.
            approval: what a step that uses ``saga.approval`` asks for.
            order: who decides, and why.
            approved: whether it may go on; a refusal compensates it.

        Raises:
            NotFoundError: there is no such saga.
            ConflictError: it is finished.
            InvalidInputError: there is no reason.
        """
        decision = order.data(approved=approved)
        await self._send(saga_id, f"{APPROVAL_PREFIX}{approval}", decision, order.user_id)

    async def _send(
        self, saga_id: str, name: str, value: JsonValue, user_id: str | None, key: str | None = None
    ) -> None:
        view = await self.get(saga_id)
        if view.state.is_finished:
            if key is not None and await self._was_sent(saga_id, key):
                return
            raise ConflictError(f"Saga {saga_id!r} is {view.state} and awaits nothing.")
        body: JsonObject = {"value": value}
        message = inbox.Message(saga_id, "signal", body, self._clock.now(), name, user_id)
        if await self._committer.submit(lambda connection: inbox.put(connection, message, key)):
            self._dispatcher.notify(saga_id, urgent=False)

    async def _was_sent(self, saga_id: str, key: str) -> bool:
        async with self._database.read() as connection:
            return await connection.run_sync(inbox.was_sent, saga_id, key)

    async def compensate(self, saga_id: str, order: Order) -> SagaView:
        """Undo a finished saga by hand; see ``Interventions.compensate``."""
        return await self.by_hand.compensate(saga_id, order)

    async def _open_children(self, saga_id: str) -> Sequence[str]:
        async with self._database.read() as connection:
            return await children_of(connection, saga_id, only_open=True)

    async def _find_by_key(self, key: str | None, user_id: str | None) -> str | None:
        if key is None:
            return None
        async with self._database.read() as connection:
            return await connection.run_sync(find_by_key, key, user_id)

    async def _read_memos(self, saga_id: str) -> dict[str, JsonValue]:
        async with self._database.read() as connection:
            memos = await read_memos(connection, saga_id)
            key = await read_key(connection, saga_id)
        cipher = await self._vault.cipher_of(key)
        if cipher is None:
            return memos
        return {name: cipher.open_json(memo_place(name), memos[name]) for name in memos}

    async def _read_inbox(self, saga_id: str) -> list[inbox.Message]:
        async with self._database.read() as connection:
            return await inbox.read(connection, saga_id)


def _checked(given: JsonObject) -> JsonObject:
    value = as_json(given, longest=LONGEST_INPUT)
    if not isinstance(value, dict):
        raise InvalidInputError("$.input: a saga's input is an object.")
    return value
