"""How many calls may be under way at once: the port, and the back end that never waits."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol


class CallLimits(Protocol):
    """Holds calls back so that a provider need not refuse them."""

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for room, and hold it for one attempt; leaving without an error is a success."""
        ...

    async def throttled(self, seconds: float | None) -> None:
        """Record that the provider answered 429, asking for a pause of some seconds."""
        ...


class Unlimited:
    """No limits but the provider's own."""

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        yield

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Return at once."""
        return self._slot()

    async def throttled(self, seconds: float | None) -> None:
        """Record nothing."""
