"""One pool of warm workers for each profile."""

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.sandbox.metrics import SandboxMetrics
from mcp_orchestrator.sandbox.pool import WarmPool
from mcp_orchestrator.sandbox.port import Backend, Worker
from mcp_orchestrator.sandbox.profiles import PLAIN
from mcp_orchestrator.sandbox.request import Limits


class WarmPools:
    """The pools of one sandbox; that of another profile than the plain one is made at first use.

    Args:
        backend: who starts the workers.
        limits: what they are started with.
        size: how many wait in the plain profile; in each other one at the most.
        clock: for their age.
        metrics: is told of every worker taken.
    """

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        size: int,
        clock: Clock,
        *,
        metrics: SandboxMetrics | None = None,
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._size = size
        self._clock = clock
        self._metrics = metrics
        self._pools = {PLAIN: self._new(PLAIN, size)}

    def __len__(self) -> int:
        """Return how many workers wait."""
        return sum(len(pool) for pool in self._pools.values())

    @property
    def hits(self) -> int:
        """How many runs found a worker waiting."""
        return sum(pool.hits for pool in self._pools.values())

    @property
    def misses(self) -> int:
        """How many runs had to wait for a worker to start."""
        return sum(pool.misses for pool in self._pools.values())

    async def take(self, limits: Limits, profile: str = PLAIN) -> Worker:
        """Return a worker of a profile, confined to the limits.

        Raises:
            InvalidInputError: there is no such profile.
            SandboxUnavailableError: none could be started.
        """
        if profile not in self._pools:
            await self._backend.prepare(profile)
            pool = self._new(profile, min(1, self._size))
            self._pools.setdefault(profile, pool)  # another may have prepared it meanwhile
        return await self._pools[profile].take(limits)

    def refill(self, profile: str = PLAIN) -> None:
        """Begin as many workers as a profile's pool misses."""
        pool = self._pools.get(profile)
        if pool is not None:
            pool.refill()

    async def shrink(self) -> None:
        """Let the waiting workers go of every profile that was not used for a while."""
        for pool in self._pools.values():
            await pool.shrink()

    async def close(self) -> None:
        """Give up every worker that waits, and begin no more."""
        for pool in self._pools.values():
            await pool.close()

    def _new(self, profile: str, size: int) -> WarmPool:
        return WarmPool(
            self._backend, self._limits, size, self._clock, profile=profile, metrics=self._metrics
        )
