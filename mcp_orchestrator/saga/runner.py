"""Running one saga in this process, until it finishes, waits, is held or is lost."""

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import anyio.lowlevel
from pydantic import JsonValue

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import InvalidInputError, StaleLeaseError
from mcp_orchestrator.saga.attempt import failure_event, run_bounded
from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.definition import SagaStep
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.inbox import Message, events_of
from mcp_orchestrator.saga.journal import Journal
from mcp_orchestrator.saga.memos import Memos
from mcp_orchestrator.saga.planning import arguments_of, consequences, is_past_pivot, result_of
from mcp_orchestrator.saga.progress import SagaProgress
from mcp_orchestrator.saga.redaction import redactor_of
from mcp_orchestrator.saga.resting import Rest, Resting
from mcp_orchestrator.saga.states import StepState
from mcp_orchestrator.saga.step import Action, StepHandle
from mcp_orchestrator.saga.tracing import SagaTraces
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.saga.waits import (
    awaited_signal,
    end_of_wait,
    is_wait,
    is_waiting,
    wait_deadline,
)
from mcp_orchestrator.store.canonical import as_json
from mcp_orchestrator.store.sealing import Vault

T = TypeVar("T")

#: The longest result of an action, in characters of JSON: it is part of every checkpoint.
LONGEST_RESULT = 1_000_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every run of a process shares.

    Attributes:
        journal: the only writer.
        clock: the time.
        chance: for jitter.
        find: looks an action up by name.
        read_memos: reads what a saga's memos hold.
        read_inbox: reads a saga's messages, the oldest first.
        vault: finds what opens an encrypted saga.
        resting: counts the runs that only wait.
        traces: records what steps do.
    """

    journal: Journal
    clock: Clock
    chance: random.Random
    find: Callable[[str], Action]
    read_memos: Callable[[str], Awaitable[dict[str, JsonValue]]]
    read_inbox: Callable[[str], Awaitable[list[Message]]]
    vault: Vault
    resting: Resting
    traces: SagaTraces


class SagaRun:
    """One saga, held by this process.

    Args:
        record: the saga as it is on disk.
        around: what every run shares.
        fresh: whether it was started here just now, so that its intents were not begun yet.
        opening: what happened to it when this process took it over.
    """

    def __init__(
        self,
        record: SagaRecord,
        around: Surroundings,
        *,
        fresh: bool,
        opening: Sequence[SagaEvent] = (),
    ) -> None:
        self.record = record
        self._around = around
        self._opening = opening
        self._uncertain = set[int]() if fresh else set(record.progress.in_flight())
        self._has_messages = not fresh
        self.is_cut_off = False
        self.rest = Rest(around.resting)
        self._writing = anyio.Lock(fast_acquire=True)
        self._work = anyio.CancelScope()
        self._redactor = redactor_of(record.definition.redact)
        self._memos = Memos(
            partial(around.read_memos, record.saga_id), self._record_memo, fresh=fresh
        )

    @property
    def progress(self) -> SagaProgress:
        """How far the saga is, on disk."""
        return self.record.progress

    def notify(self, *, urgent: bool) -> None:
        """Say that there are messages in the inbox.

        Args:
            urgent: whether to cut off what is in flight, for an abort.
        """
        self._has_messages = True
        if urgent:
            self.is_cut_off = True
            self._work.cancel()

    async def drive(self) -> None:
        """Go on with the saga until nothing is left that this process can do for it now.

        Raises:
            StaleLeaseError: somebody else has taken it over.
            BackendUnavailableError: the database failed; the saga is as it was written last.
        """
        if self._opening:
            await self._write(*self._opening)
        while True:
            if self._has_messages:
                await self._read_inbox()
            if self.progress.is_at_rest:
                return
            if self._is_asleep():
                await self._around.journal.park(self.record)
                return
            with anyio.CancelScope() as self._work:
                # Whoever sent a message before there was this scope could not cancel it.
                while not (self._has_messages or self.progress.is_at_rest or self._is_asleep()):
                    await self._work_on()

    async def _work_on(self) -> None:
        """Bring everything that is in flight, and not a wait, to its end."""
        flying = self.progress.in_flight()
        ready = [index for index in flying if not self._is_waiting(index)]
        if not flying:
            await self._write()
        elif len(ready) == 1:
            await self._finish(ready[0])
        else:
            await self._finish_together(ready)

    async def _finish_together(self, indexes: Sequence[int]) -> None:
        errors: list[Exception] = []

        async def finish(index: int) -> None:
            try:
                await self._finish(index)
            except Exception as error:  # a lost lease or database, raised once all have stopped
                errors.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for index in indexes:
                tasks.start_soon(finish, index)
        if errors:
            raise errors[0]

    def _is_asleep(self) -> bool:
        flying = self.progress.in_flight()
        return bool(flying) and all(self._is_waiting(index) for index in flying)

    def _is_waiting(self, index: int) -> bool:
        step, so_far = self.record.definition.steps[index], self.progress.steps[index]
        if so_far.state is not StepState.EXECUTING or not is_wait(step.action):
            return False
        try:
            arguments = arguments_of(self.record.definition, self.progress, index)
        except InvalidInputError:  # found again, and written down, when the step runs
            return False
        now = self._around.clock.now()
        return is_waiting(step.action, arguments, self.progress.context, so_far.wake_at, now)

    async def _read_inbox(self) -> None:
        self._has_messages = False
        for message in await self._around.read_inbox(self.record.saga_id):
            if self.progress.state.is_finished:
                return
            now = self._around.clock.now()
            await self._write(*events_of(message, self.record, now), consumed=[message.id])

    async def _write(
        self,
        *events: SagaEvent,
        memo: tuple[str, JsonValue] | None = None,
        consumed: Sequence[int] = (),
    ) -> None:
        """Write events, and what follows from them by itself, in one transaction.

        A cancel waits for it, a matter of milliseconds: what is known to have happened is kept,
        and the caller knows whether it is.
        """
        # The journal lets no cancel through; only waiting for one's turn needs a shield as well.
        turn = anyio.CancelScope(shield=True) if self._writing.locked() else nullcontext()
        with turn:
            async with self._writing:
                self.record = await self._around.journal.append(
                    self.record, events, memo=memo, consumed=consumed, follow=self._consequences
                )

    def _consequences(self, progress: SagaProgress) -> Sequence[SagaEvent]:
        return consequences(self.record.definition, progress, self._around.clock.now())

    async def _finish(self, index: int) -> None:
        """Attempt a step, or its compensation, until it has an outcome."""
        step = self.record.definition.steps[index]
        if index in self._uncertain:
            self._uncertain.discard(index)
            await self._settle(index, step)
        direction = self.progress.steps[index].state
        while self.progress.held_reason is None and direction.is_in_flight:
            if self.progress.steps[index].state is not direction:
                return
            with self._around.traces.attempt(self.record, index):
                event = await self._attempt(index, step)
            await self._write(event)
            delay = event.data.get("delay_seconds")
            if isinstance(delay, (int, float)):
                await self._around.clock.sleep(delay)

    async def _attempt(self, index: int, step: SagaStep) -> SagaEvent:
        """Run one attempt and return how it ended."""
        backward = self.progress.steps[index].state is StepState.COMPENSATING
        began = self._around.clock.monotonic()
        try:
            data = await (self._undo if backward else self._do)(index, step)
        except StaleLeaseError:
            raise
        except Exception as error:  # whatever an action raises is the attempt's outcome
            return failure_event(
                step, index, self.progress, error,
                now=self._around.clock.now(), chance=self._around.chance,
                redactor=self._redactor, duration_ms=self._milliseconds_since(began),
                forward_only=is_past_pivot(self.record.definition, self.progress),
            )  # fmt: skip
        kind = EventType.COMPENSATION_COMPLETE if backward else EventType.STEP_COMPLETE
        duration = self._milliseconds_since(began)
        return SagaEvent(kind, self._around.clock.now(), index, data, duration_ms=duration)

    async def _do(self, index: int, step: SagaStep) -> JsonObject:
        arguments = arguments_of(self.record.definition, self.progress, index)
        if is_wait(step.action):
            wait_deadline(step.action, arguments, self._around.clock.now())  # refuses nonsense
            result = end_of_wait(step.action, arguments, self.progress.context)
            return {"result": result, "signal": awaited_signal(step.action, arguments)}
        attempts = self.progress.steps[index].attempts
        return {"result": await self._call(step.action, arguments, index=index, attempt=attempts)}

    async def _undo(self, index: int, step: SagaStep) -> JsonObject:
        arguments: JsonObject = {
            "arguments": arguments_of(self.record.definition, self.progress, index),
            "result": result_of(self.progress, step.name).get("result"),
        }
        attempts = self.progress.steps[index].compensation_attempts
        if step.compensation is not None:
            await self._call(
                step.compensation,
                arguments,
                index=index,
                attempt=attempts,
                suffix=":compensation",
            )
        return {}

    async def _call(
        self,
        action: Action | str,
        arguments: JsonObject,
        *,
        index: int,
        attempt: int,
        suffix: str = "",
    ) -> JsonValue:
        step = self.record.definition.steps[index]
        function = self._around.find(action) if isinstance(action, str) else action
        handle = StepHandle(
            _Operations(self, index, self._memos),
            saga_id=self.record.saga_id,
            step_name=step.name,
            attempt=attempt,
            idempotency_key=self.record.idempotency_key(index) + suffix,
            user_id=self.record.user_id,
        )
        work = partial(function, arguments, handle)
        result = await run_bounded(work, step.timeout, self._around.clock)
        return as_json(result, longest=LONGEST_RESULT)

    async def _settle(self, index: int, step: SagaStep) -> None:
        """Decide about a step that was in flight when its runner stopped.

        Its probe is asked whether it happened; without one, its policy says whether it is
        repeated with the same idempotency key or held for a person.
        """
        now = self._around.clock.now()
        self._around.traces.cut_off(self.record, index, now)
        again: JsonObject = {"reason": "uncertain: its runner stopped while it was in flight"}
        if self.progress.steps[index].state is StepState.COMPENSATING:
            await self._write(SagaEvent(EventType.COMPENSATION_RETRY, now, index, again))
            return
        if is_wait(step.action):
            return
        if step.probe is not None:
            await self._write(await self._ask(index, step, step.probe, again))
        elif step.on_uncertain == "hold":
            reason = f"Step {step.name!r} was running when its runner stopped. Did it happen?"
            await self._write(SagaEvent(EventType.HELD, now, index, error=reason))
        else:
            await self._write(SagaEvent(EventType.STEP_RETRY, now, index, again))

    async def _ask(
        self, index: int, step: SagaStep, probe: Action | str, again: JsonObject
    ) -> SagaEvent:
        try:
            arguments = arguments_of(self.record.definition, self.progress, index)
            attempts = self.progress.steps[index].attempts
            found = await self._call(probe, arguments, index=index, attempt=attempts)
        except StaleLeaseError:
            raise
        except Exception as error:  # nobody knows whether it happened
            reason = f"The probe of step {step.name!r} failed: {self._redactor.text(str(error))}"
            return SagaEvent(EventType.HELD, self._around.clock.now(), index, error=reason)
        now = self._around.clock.now()
        if isinstance(found, dict) and found.get("happened") is True:
            data: JsonObject = {"result": found.get("result"), "probed": True}
            return SagaEvent(EventType.STEP_COMPLETE, now, index, data)
        return SagaEvent(EventType.STEP_RETRY, now, index, again)

    async def _record_memo(
        self, name: str, value: JsonValue, told: JsonObject | None, index: int
    ) -> None:
        now = self._around.clock.now()
        events = [SagaEvent(EventType.MEMO_RECORDED, now, data={"name": name})]
        if told is not None:
            events.append(SagaEvent(EventType.STEP_PROGRESS, now, index, told))
        await self._write(*events, memo=(name, value))

    async def note(self, index: int, kind: EventType, data: JsonObject) -> None:
        """Write an event of a step that is at work."""
        await self._write(SagaEvent(kind, self._around.clock.now(), index, data))

    def _milliseconds_since(self, began: float) -> float:
        return round((self._around.clock.monotonic() - began) * 1000, 3)


class _Operations:
    """What a step's handle can do."""

    def __init__(self, run: SagaRun, index: int, memos: Memos) -> None:
        self._run = run
        self._index = index
        self._memos = memos

    async def memo(
        self,
        name: str,
        fn: Callable[[], Awaitable[T]],
        tell: Callable[[T], JsonObject] | None,
    ) -> T:
        rewinds = self._run.progress.steps[self._index].rewinds
        unique = f"{name}@{rewinds}" if rewinds else name
        return await self._memos.run(unique, fn, step=self._index, tell=tell)

    async def report_progress(self, data: JsonObject) -> None:
        await self._run.note(self._index, EventType.STEP_PROGRESS, data)

    async def heartbeat(self) -> None:
        await anyio.lowlevel.checkpoint()

    def waiting(self) -> AbstractContextManager[None]:
        return self._run.rest.waiting()

    def is_aborted(self) -> bool:
        return self._run.is_cut_off
