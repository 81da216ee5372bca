"""Memos that a step goes on from while they are being written.

A disk takes longer to keep a program than the loop takes to begin its test, so nobody waits for
the former. What a crash can repeat stays the same: whatever was not on disk yet.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio
from anyio.abc import TaskGroup
from pydantic import JsonValue

from mcp_orchestrator.saga import JsonObject, StepHandle

Tell = Callable[[JsonValue], JsonObject]


@asynccontextmanager
async def memos_of(step: StepHandle) -> AsyncGenerator["Memos"]:
    """Keep the memos of one step; leaving the block waits until all of them are on disk.

    Args:
        step: the step that keeps them.

    Raises:
        StaleLeaseError: another process has taken the saga over.
        BackendUnavailableError: one could not be written.
    """
    try:
        async with anyio.create_task_group() as tasks:
            yield Memos(step, tasks)
    except BaseException as raised:  # a cancel too, which is in no group
        raise _first(raised) from None


class Memos:
    """The memos of one step; ``memos_of`` makes them.

    Args:
        step: the step that keeps them.
        tasks: where they are written.
    """

    def __init__(self, step: StepHandle, tasks: TaskGroup) -> None:
        self.step = step
        self._tasks = tasks

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
