"""What an action is, and the handle it is given beside its arguments."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, TypeVar

from pydantic import JsonValue

from mcp_orchestrator.saga.values import JsonObject

T = TypeVar("T")


class StepOperations(Protocol):
    """What stands behind a step handle; the engine gives the real one."""

    async def memo(
        self,
        name: str,
        fn: Callable[[], Awaitable[T]],
        tell: Callable[[T], JsonObject] | None,
    ) -> T:
        """Run a sub-operation once for this saga, and report progress in the same write."""
        ...

    async def report_progress(self, data: JsonObject) -> None:
        """Write down how far the step is."""
        ...

    async def heartbeat(self) -> None:
        """Let a cancel through."""
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Give the saga's place among the running to others."""
        ...

    def is_aborted(self) -> bool:
        """Tell whether an abort has cut the step off."""
        ...


def progress(
    message: str, *, current: float | None = None, total: float | None = None
) -> JsonObject:
    """Return how far a step is, as its audit event says it."""
    data: JsonObject = {"message": message, "current": current, "total": total}
    return {name: value for name, value in data.items() if value is not None}


class StepHandle:
    """What an action knows of the step it runs for.

    Attributes:
        saga_id: the saga.
        step_name: the step.
        attempt: which start of this step it is, from 1; a crash in between counts.
        idempotency_key: the same for every attempt of this step, another for its compensation.
        user_id: for whom the saga runs, when known.
    """

    def __init__(
        self,
        operations: StepOperations,
        *,
        saga_id: str,
        step_name: str,
        attempt: int,
        idempotency_key: str,
        user_id: str | None = None,
    ) -> None:
        self.saga_id = saga_id
        self.step_name = step_name
        self.attempt = attempt
        self.idempotency_key = idempotency_key
        self.user_id = user_id
        self._operations = operations

    async def memo(
        self,
        name: str,
        fn: Callable[[], Awaitable[T]],
        *,
        tell: Callable[[T], JsonObject] | None = None,
    ) -> T:
        """Run a sub-operation once for this saga, whatever crashes after it has returned.

        Args:
            name: unique within the saga; callers that use it at the same time share one run.
            fn: the operation; what it returns must be JSON.
            tell: makes of the result what ``progress`` returns; reported in the same write.

        Returns:
            What the operation returned when it ran, on disk already.

        Raises:
            InvalidInputError: the operation's result is not JSON.
            StaleLeaseError: another process has taken this saga over.
        """
        return await self._operations.memo(name, fn, tell)

    async def report_progress(
        self, message: str, *, current: float | None = None, total: float | None = None
    ) -> None:
        """Write an audit event that says how far the step is.

        Args:
            message: one line for a person.
            current: what is done, in any unit.
            total: what there is to do, in the same unit.
        """
        await self._operations.report_progress(progress(message, current=current, total=total))

    async def heartbeat(self) -> None:
        """Let a cancel through in a long computation; leases are kept without it."""
        await self._operations.heartbeat()

    def waiting(self) -> AbstractContextManager[None]:
        """Give the saga's place among the running to others while this step only waits.

        Use it as a context manager around the wait for something that itself needs a place, such
        as another saga.
        """
        return self._operations.waiting()

    @property
    def is_aborted(self) -> bool:
        """Tell, once the step is cancelled, whether an abort did it and not the process's end.

        What the step has set going elsewhere is then to be cancelled too.
        """
        return self._operations.is_aborted()


#: A registered function. It gets its arguments and a handle, and returns JSON.
Action: TypeAlias = Callable[[JsonObject, StepHandle], Awaitable[JsonValue]]


class ActionCatalog(Protocol):
    """Where actions are looked up by name."""

    def action(self, name: str) -> Action:
        """Return an action, or raise UnknownNameError."""
        ...

    def names(self) -> list[str]:
        """Return the names of all actions."""
        ...
