"""Waiting for somebody in this process, while looking now and then for those in others."""

import anyio

from mcp_orchestrator.clock import Clock


class Bell:
    """Rung when something changed; everybody who waits at that moment wakes up.

    Listen first, look second, wait third: what changes after the look is then not missed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Wake everybody who waits."""
        self._rung.set()
        self._rung = anyio.Event()

    def listen(self) -> anyio.Event:
        """Return what the next ring will set."""
        return self._rung

    async def wait(self, rung: anyio.Event, seconds: float) -> None:
        """Wait for a ring that was listened for, at most some seconds."""
        async with anyio.create_task_group() as tasks:

            async def give_up() -> None:
                await self._clock.sleep(seconds)
                tasks.cancel_scope.cancel()

            tasks.start_soon(give_up)
            await rung.wait()
            tasks.cancel_scope.cancel()
