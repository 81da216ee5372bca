"""What the store believes of a saga's effects, against what their probes find. It only reads."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.planning import arguments_of
from mcp_orchestrator.saga.states import StepState
from mcp_orchestrator.saga.step import Action, StepHandle
from mcp_orchestrator.saga.values import JsonObject

T = TypeVar("T")

_DONE = StepState.COMPLETED
_UNDONE = {StepState.PENDING, StepState.COMPENSATED, StepState.FAILED}


@dataclass(frozen=True, slots=True)
class Finding:
    """One step whose effect was looked at.

    Attributes:
        step: its name.
        believed: its state in the store.
        happened: whether the probe found its effect; None when the probe failed.
        error: why it failed.
    """

    step: str
    believed: StepState
    happened: bool | None
    error: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether store and world agree."""
        return self.happened is (self.believed is _DONE)


async def reconcile(record: SagaRecord, find: Callable[[str], Action]) -> list[Finding]:
    """Ask the probe of every step that has one and is not in flight.

    Args:
        record: the saga.
        find: looks an action up by name.
    """
    findings: list[Finding] = []
    for index, step in enumerate(record.definition.steps):
        state = record.progress.steps[index].state
        if step.probe is None or not (state is _DONE or state in _UNDONE):
            continue
        probe = find(step.probe) if isinstance(step.probe, str) else step.probe
        handle = StepHandle(
            _Nothing(), saga_id=record.saga_id, step_name=step.name,
            attempt=record.progress.steps[index].attempts,
            idempotency_key=record.idempotency_key(index), user_id=record.user_id,
        )  # fmt: skip
        try:
            answer = await probe(arguments_of(record.definition, record.progress, index), handle)
        except Exception as error:  # a probe that fails tells nothing, and that is told
            findings.append(Finding(step.name, state, None, str(error)))
            continue
        happened = isinstance(answer, dict) and answer.get("happened") is True
        findings.append(Finding(step.name, state, happened))
    return findings


class _Nothing:
    """What a probe's handle can do when nobody runs the saga: nothing that is written."""

    async def memo(
        self,
        name: str,
        fn: Callable[[], Awaitable[T]],
        tell: Callable[[T], JsonObject] | None,
    ) -> T:
        del fn, tell
        raise ConflictError(f"The memo {name!r} cannot be kept: the saga is only looked at.")

    async def report_progress(self, data: JsonObject) -> None:
        del data

    async def heartbeat(self) -> None:
        return

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def is_aborted(self) -> bool:
        return False
