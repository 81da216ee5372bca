"""Warm workers: started ahead, used once, never shared between runs."""

from collections import deque

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.metrics import SandboxMetrics
from mcp_orchestrator.sandbox.port import Backend, StartingWorker, Worker
from mcp_orchestrator.sandbox.profiles import PLAIN
from mcp_orchestrator.sandbox.request import Limits

_STALE_SECONDS = 600.0
#: After so long without a run no worker waits any more.
_IDLE_SECONDS = 300.0


class WarmPool:
    """A few started workers of one profile; other limits are started when they are asked for.

    Refilling only begins workers, which then start in processes of their own, so it needs no task
    in the background; call ``refill`` when a run has ended, not while it competes for the machine.

    Args:
        backend: who starts them.
        limits: the limits they are started with.
        size: how many are kept; 0 starts each when it is needed.
        clock: for their age.
        profile: what there is to import inside.
        metrics: is told of every worker taken.
    """

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        size: int,
        clock: Clock,
        *,
        profile: str = PLAIN,
        metrics: SandboxMetrics | None = None,
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._profile = profile
        self._size = size
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[tuple[float, StartingWorker]] = deque()
        self._open = True
        self._used = clock.monotonic()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        """Return how many workers wait."""
        return len(self._waiting)

    def refill(self) -> None:
        """Begin as many workers as are missing, and hear what the others have said."""
        while self._open and len(self._waiting) < self._size:
            starting = self._backend.begin(self._limits, self._profile)
            self._waiting.append((self._clock.monotonic(), starting))
        for _, starting in self._waiting:
            starting.advance()

    async def take(self, limits: Limits) -> Worker:
        """Return a worker that waits for its request, confined to the limits.

        Raises:
            SandboxUnavailableError: none could be started.
        """
        self._used = began = self._clock.monotonic()
        worker = await self._take_warm() if self._fits(limits) else None
        warm = worker is not None
        if worker is None:
            self.misses += 1
            worker = await self._backend.begin(limits, self._profile).ready()
        try:
            await worker.confine(limits)
        except BaseException:
            await worker.close()
            raise
        if self._metrics is not None:
            self._metrics.taken(self._clock.monotonic() - began, warm=warm)
        return worker

    async def shrink(self) -> None:
        """Let the waiting workers go when nothing has been run for a while."""
        if self._clock.monotonic() - self._used > _IDLE_SECONDS:
            while self._waiting:
                await self._waiting.popleft()[1].close()

    async def _take_warm(self) -> Worker | None:
        while self._waiting:
            began, starting = self._waiting.popleft()
            if self._clock.monotonic() - began > _STALE_SECONDS:
                await starting.close()
                continue
            try:
                worker = await starting.ready()
            except SandboxUnavailableError:
                continue  # it died while it waited; the next one, or a new one
            self.hits += 1
            return worker
        return None

    def _fits(self, limits: Limits) -> bool:
        """Tell whether a waiting worker can still be given these limits."""
        return self._backend.can_confine(self._limits, limits)

    async def close(self) -> None:
        """Give up every worker that waits, and begin no more."""
        self._open = False
        while self._waiting:
            await self._waiting.popleft()[1].close()
