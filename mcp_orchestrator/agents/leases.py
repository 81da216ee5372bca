"""Holding something in the store for as long as a block runs, and not much longer if we die."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import BackendUnavailableError

_log = logging.getLogger(__name__)


@asynccontextmanager
async def renewed(
    renew: Callable[[], Awaitable[object]], every: float, clock: Clock
) -> AsyncGenerator[None]:
    """Renew a lease now and then while the block runs; its errors leave the block as they are.

    Args:
        renew: writes the new expiry; a store that does not answer is tried again later.
        every: seconds between renewals.
        clock: tells when.
    """

    async def keep_renewing() -> None:
        while True:
            await clock.sleep(every)
            try:
                await renew()
            except BackendUnavailableError as error:
                _log.warning("A lease could not be renewed: %s", error)

    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_renewing)
        try:
            yield
        except Exception as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
