"""One attempt of an action: bounded in time, and what its failure means."""

import random
import traceback
from collections.abc import Awaitable, Callable
from datetime import datetime

import anyio
from pydantic import JsonValue

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.errors import (
    BudgetExceededError,
    BusinessRefusalError,
    ConfigurationError,
    InvalidInputError,
    LimitExceededError,
    ProviderRejectedError,
)
from mcp_orchestrator.saga.definition import SagaStep
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.progress import SagaProgress
from mcp_orchestrator.saga.redaction import Redactor
from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.store.canonical import clean_text

#: Errors that another attempt would only repeat.
FINAL_ERRORS = (
    BusinessRefusalError,
    InvalidInputError,
    ConfigurationError,
    BudgetExceededError,
    ProviderRejectedError,
)


class StepTimeoutError(LimitExceededError):
    """An attempt took too long and was cancelled; its effect may have happened."""

    code = "step_timeout"


async def wait_bounded(event: anyio.Event, seconds: float, clock: Clock) -> None:
    """Wait for an event for no longer than a number of seconds of the given clock."""
    if isinstance(clock, SystemClock):  # the event loop's own time: no task has to watch it
        with anyio.move_on_after(max(seconds, 0.0)):
            await event.wait()
        return
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            await clock.sleep(seconds)
            tasks.cancel_scope.cancel()

        tasks.start_soon(stop)
        await event.wait()
        tasks.cancel_scope.cancel()


async def run_bounded(
    work: Callable[[], Awaitable[JsonValue]], seconds: float | None, clock: Clock
) -> JsonValue:
    """Run something for no longer than a number of seconds of the given clock.

    Raises:
        StepTimeoutError: it was cancelled because it took too long.
        Exception: what the work raised.
    """
    if seconds is None:
        return await work()
    result: JsonValue = None
    error: Exception | None = None
    ended = False
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            await clock.sleep(seconds)
            tasks.cancel_scope.cancel()

        tasks.start_soon(stop)
        try:
            result = await work()
        except Exception as raised:  # carried out of the task group as it is
            error = raised
        ended = True
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
    if not ended:
        raise StepTimeoutError(f"It did not finish within {seconds:g} s and was cancelled.")
    return result


def failure_event(
    step: SagaStep,
    index: int,
    progress: SagaProgress,
    error: Exception,
    *,
    now: datetime,
    chance: random.Random,
    redactor: Redactor,
    duration_ms: float,
    forward_only: bool = False,
) -> SagaEvent:
    """Return what a failed attempt means: another one, with its ``delay_seconds``, or the end.

    Beyond a pivot there is no going back, so the end is to hold the saga for a person. A step
    whose neighbour in a group has failed is not tried again: its saga is going back.
    """
    so_far = progress.steps[index]
    backward = so_far.state is StepState.COMPENSATING
    retry = (step.compensation_retry or step.retry) if backward else step.retry
    failures = 1 + (so_far.compensation_failures if backward else so_far.failures)
    going_back = progress.state is SagaState.COMPENSATING and not backward
    again = failures < retry.max_attempts and not going_back and not isinstance(error, FINAL_ERRORS)
    message = str(error) or type(error).__name__
    data: JsonObject = {"error_type": type(error).__name__, "failures": failures}
    if again:
        data["delay_seconds"] = retry.delay(failures, chance)
        kind = EventType.COMPENSATION_RETRY if backward else EventType.STEP_RETRY
    elif forward_only and not backward:
        kind = EventType.HELD
        message = f"Step {step.name!r} failed after the point of no return: {message}"
    else:
        kind = EventType.COMPENSATION_FAILED if backward else EventType.STEP_FAILED
        if isinstance(error, StepTimeoutError) and step.compensation is not None:
            data["uncertain"] = True
    return SagaEvent(
        kind,
        now,
        index,
        data,
        error=clean_text(redactor.text(message)),
        stack="".join(traceback.format_exception(error)),
        duration_ms=duration_ms,
    )
