"""Routing: a signal is kept, every rule that matches starts its target once, the end is noted."""

import uuid
from collections.abc import Callable
from datetime import timedelta

from pydantic import JsonValue

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.errors import InvalidInputError, NotFoundError, OrchestratorError
from mcp_orchestrator.queue.encoding import encode_json
from mcp_orchestrator.queue.signals import storing
from mcp_orchestrator.queue.signals.rule import (
    Outcome,
    Payload,
    SagaTarget,
    Signal,
    SignalRule,
    SignalSaga,
    SignalStatus,
    StartSaga,
    StartTask,
    at,
)
from mcp_orchestrator.queue.task import TaskPriority
from mcp_orchestrator.queue.task_queue import TaskQueue
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database

_LONGEST_NAME = 200
#: A signal that was received but not routed for so long was interrupted by a crash, in seconds.
_INTERRUPTED_AFTER = 60.0
_PAGE = 200


def _any_task(task_type: str, payload: dict[str, JsonValue]) -> None:
    """Take every task type: another process may handle it."""


class SignalRouter:
    """Decides what an incoming signal starts. Rules and signals live in the SQL database.

    Args:
        queue: where tasks go, on whatever back end.
        database: where rules and signals are kept; migrated.
        committer: the process's writer.
        sagas: how sagas are started and signalled; None where there are none.
        check_task: raises InvalidInputError for a task that no handler would take.
        clock: the source of time.
    """

    def __init__(
        self,
        queue: TaskQueue,
        database: Database,
        committer: GroupCommitter,
        *,
        sagas: SagaTarget | None = None,
        check_task: Callable[[str, Payload], None] = _any_task,
        clock: Clock | None = None,
    ) -> None:
        self._queue = queue
        self._name = queue.config.consumer_group
        self._database = database
        self._committer = committer
        self._sagas = sagas
        self._check_task = check_task
        self._clock: Clock = clock or SystemClock()

    async def add_rule(self, rule: SignalRule) -> None:
        """Add a rule, or replace the one of its name.

        Raises:
            InvalidInputError: it is for a saga, and there are none here.
        """
        if not isinstance(rule.target, StartTask) and self._sagas is None:
            raise InvalidInputError("There are no sagas here for a rule to start or to signal.")
        await self._committer.submit(
            lambda connection: storing.put_rule(connection, self._name, rule)
        )

    async def remove_rule(self, name: str) -> None:
        """Remove a rule.

        Raises:
            NotFoundError: there is no such rule.
        """
        if not await self._committer.submit(
            lambda connection: storing.drop_rule(connection, self._name, name)
        ):
            raise NotFoundError(f"There is no rule {name[:80]!r}.")

    async def list_rules(self) -> list[SignalRule]:
        """Return every rule, by name."""
        async with self._database.read() as connection:
            return await storing.all_rules(connection, self._name)

    async def publish(
        self,
        name: str,
        payload: Payload,
        *,
        signal_id: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """Keep a signal and start what the rules say; returns when that is durable.

        Args:
            name: what happened, such as ``order.paid``.
            payload: what is known of it; JSON.
            signal_id: the same id is routed once, however often it is published.
            owner: whose tasks and sagas the signal starts.

        Raises:
            InvalidInputError: a bad name or payload.
            LimitExceededError: the payload is too long.
        """
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidInputError(
                f"{name[:80]!r} is not a valid signal name.",
                remedy=f"Use 1 to {_LONGEST_NAME} printable characters.",
            )
        encode_json(payload, what="payload", limit=self._queue.config.max_payload_bytes)
        signal = Signal(
            signal_id or f"signal_{uuid.uuid4().hex}",
            name,
            payload,
            owner,
            SignalStatus.RECEIVED,
            (),
            self._clock.now(),
        )
        await self._committer.submit(
            lambda connection: storing.receive(connection, self._name, signal)
        )
        kept = await self.get(signal.signal_id)
        return kept if kept.status is not SignalStatus.RECEIVED else await self._route(kept)

    async def get(self, signal_id: str) -> Signal:
        """Return a signal and what became of it.

        Raises:
            NotFoundError: there is no such signal.
        """
        async with self._database.read() as connection:
            found = await storing.get(connection, self._name, signal_id)
        if found is None:
            raise NotFoundError(f"There is no signal {signal_id[:80]!r}.")
        return found

    async def route_again(self, signal_id: str) -> Signal:
        """Apply the present rules to a signal; what it has started already is not started again."""
        return await self._route(await self.get(signal_id))

    async def list_unrouted(self, limit: int = 50) -> list[Signal]:
        """Return the signals that matched no rule or could not start everything, newest first."""
        wanted = (SignalStatus.RECEIVED, SignalStatus.UNROUTED, SignalStatus.FAILED)
        async with self._database.read() as connection:
            return await storing.list_by_status(connection, self._name, wanted, limit)

    async def tend(self) -> int:
        """Route what a crash interrupted, forget what was routed long ago; return how many."""
        now = self._clock.now()
        async with self._database.read() as connection:
            received = await storing.list_by_status(
                connection, self._name, (SignalStatus.RECEIVED,), _PAGE
            )
        limit = now - timedelta(seconds=_INTERRUPTED_AFTER)
        interrupted = [signal for signal in received if signal.received_at <= limit]
        for signal in interrupted:
            await self._route(signal)
        kept = now - timedelta(seconds=self._queue.config.retention_seconds)
        await self._committer.submit(
            lambda connection: storing.forget_routed(connection, self._name, kept)
        )
        return len(interrupted)

    async def _route(self, signal: Signal) -> Signal:
        rules = [
            rule for rule in await self.list_rules() if rule.matches(signal.name, signal.payload)
        ]
        outcomes = [await self._apply(rule, signal) for rule in rules]
        status = SignalStatus.ROUTED if outcomes else SignalStatus.UNROUTED
        if any(outcome.error for outcome in outcomes):
            status = SignalStatus.FAILED
        await self._committer.submit(
            lambda connection: storing.record(connection, signal.signal_id, status, outcomes)
        )
        return await self.get(signal.signal_id)

    async def _apply(self, rule: SignalRule, signal: Signal) -> Outcome:
        done = [one for one in signal.outcomes if one.rule == rule.name and one.error is None]
        if done:
            return done[0]
        try:
            started = await self._start(rule, signal)
        except OrchestratorError as error:  # another rule must not suffer for it
            return Outcome(rule=rule.name, kind=rule.target.kind, error=str(error))
        return Outcome(rule=rule.name, kind=rule.target.kind, id=started)

    async def _start(self, rule: SignalRule, signal: Signal) -> str:
        target, key = rule.target, f"signal:{signal.signal_id}:{rule.name}"
        if isinstance(target, StartTask):
            self._check_task(target.task_type, signal.payload)
            task = await self._queue.add_task(
                target.task_type,
                signal.payload,
                priority=TaskPriority[target.priority],
                max_retries=target.max_retries,
                idempotency_key=key,
                owner=signal.owner,
            )
            return task.task_id
        if self._sagas is None:
            raise InvalidInputError("There are no sagas here.")
        if isinstance(target, StartSaga):
            return await self._sagas.start_saga(
                target.definition, signal.payload, key=key, owner=signal.owner
            )
        return await self._signal_saga(self._sagas, target, signal, key)

    async def _signal_saga(
        self, sagas: SagaTarget, target: SignalSaga, signal: Signal, key: str
    ) -> str:
        saga_id = at(signal.payload, target.saga_id_at)
        if not isinstance(saga_id, str):
            raise InvalidInputError(f"The payload has no saga id at {target.saga_id_at!r}.")
        name = target.signal or signal.name
        await sagas.signal_saga(saga_id, name, signal.payload, key=key, owner=signal.owner)
        return saga_id
