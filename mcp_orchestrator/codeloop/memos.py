"""Memos that a step goes on from while they are being written.

A disk takes longer to keep a program than the loop takes to begin its test, so nobody waits for
the former. What a crash can repeat stays the same: whatever was not on disk yet.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, cast

import anyio
from anyio.abc import TaskGroup
from pydantic import JsonValue

from mcp_orchestrator.saga import JsonObject, StepHandle

Tell = Callable[[JsonValue], JsonObject]


class Memos:
    """The memos of one step; leaving the block waits until all of them are on disk.

    Args:
        step: the step that keeps them.

    Raises:
        StaleLeaseError: on leaving, where another process has taken the saga over.
        BackendUnavailableError: on leaving, where one could not be written.
    """

    def __init__(self, step: StepHandle) -> None:
        self.step = step
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Wait for the disk; what went wrong comes out as it is, not in a group."""
        assert self._tasks is not None
        try:
            return await self._tasks.__aexit__(kind, error, trace)
        except BaseException as raised:  # a cancel too, which is in no group
            raise _first(raised) from None

    async def run(
        self, name: str, fn: Callable[[], Awaitable[JsonValue]], tell: Tell | None = None
    ) -> JsonValue:
        """Return what is known under a name, or run the operation and have its result written.

        Args:
            name: unique within the saga.
            fn: the operation.
            tell: makes of the result what is reported as progress.

        Raises:
            Exception: what the operation raised; nothing is kept then.
        """
        assert self._tasks is not None
        outcome = _Outcome()

        async def noted() -> JsonValue:
            outcome.value = await fn()
            outcome.known.set()
            return outcome.value

        async def keep() -> None:
            try:
                outcome.value = await self.step.memo(name, noted, tell=tell)
            except Exception as failure:
                if outcome.known.is_set():  # its result is in use, and cannot be kept
                    raise
                outcome.failure = failure
            outcome.known.set()

        self._tasks.start_soon(keep)
        await outcome.known.wait()
        if outcome.failure is not None:
            raise outcome.failure
        return outcome.value


class _Outcome:
    """What came of an operation, once it is known."""

    def __init__(self) -> None:
        self.known = anyio.Event()
        self.value: JsonValue = None
        self.failure: Exception | None = None


def _first(error: BaseException) -> BaseException:
    """Return the first error in a group, however deep; the others followed from it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
