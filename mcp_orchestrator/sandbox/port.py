"""What a back end must offer: started, single-use workers behind a stream of bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mcp_orchestrator.sandbox.layers import GuestFacts
from mcp_orchestrator.sandbox.profiles import PLAIN, Profiles
from mcp_orchestrator.sandbox.request import Limits


@dataclass(frozen=True)
class Usage:
    """What the back end saw of a worker from outside; None where it cannot see.

    Attributes:
        oom_kills: processes that the kernel killed because memory ran out.
        refused_forks: processes and threads refused because there were too many.
        peak_memory_bytes: the most memory it held.
    """

    oom_kills: int | None = None
    refused_forks: int | None = None
    peak_memory_bytes: int | None = None

    def or_else(self, other: "Usage") -> "Usage":
        """Return this, with what it does not know taken from another."""
        return Usage(
            self.oom_kills if self.oom_kills is not None else other.oom_kills,
            self.refused_forks if self.refused_forks is not None else other.refused_forks,
            self.peak_memory_bytes
            if self.peak_memory_bytes is not None
            else other.peak_memory_bytes,
        )


class Worker(Protocol):
    """A guest that waits for its one request."""

    @property
    def facts(self) -> GuestFacts:
        """What the guest saw of its walls."""
        ...

    @property
    def limits_held(self) -> Sequence[str]:
        """The limits that are enforced on it, by name."""
        ...

    async def confine(self, limits: Limits) -> None:
        """Set the limits of the run to come, where they differ from those it started with."""
        ...

    def resource_limits(self, limits: Limits) -> dict[str, int]:
        """Return the ``RLIMIT_*`` that the guest is to set for the program."""
        ...

    async def send(self, data: bytes) -> None:
        """Send bytes to the guest."""
        ...

    async def receive(self) -> bytes:
        """Return some bytes from the guest; none when it has ended."""
        ...

    async def usage(self, *, reported: bool) -> Usage:
        """Return what was seen from outside, after the program has ended.

        Args:
            reported: False when the guest ended before it could say how the run went.
        """
        ...

    async def close(self) -> None:
        """Kill whatever still runs and leave nothing behind; may be called twice."""
        ...


class StartingWorker(Protocol):
    """A worker on its way: it starts in the background, in a process of its own."""

    def advance(self) -> None:
        """Take in what it has said so far, without waiting, so that ``ready`` has less to do."""
        ...

    async def ready(self) -> Worker:
        """Wait until the guest waits for its request.

        Raises:
            SandboxUnavailableError: it did not start, or a wall does not stand.
        """
        ...

    async def close(self) -> None:
        """Give it up."""
        ...


class Backend(Protocol):
    """A way to isolate."""

    @property
    def name(self) -> str:
        """The back end's name."""
        ...

    @property
    def version(self) -> str:
        """The version of the program that isolates."""
        ...

    @property
    def profiles(self) -> Profiles:
        """What can be asked for to import inside."""
        ...

    async def prepare(self, profile: str, /) -> None:
        """Find what a profile is made of, once, before its first worker is begun.

        Raises:
            InvalidInputError: there is no such profile.
            SandboxUnavailableError: what it is made of is not there.
        """
        ...

    def begin(self, limits: Limits, profile: str = PLAIN, /) -> StartingWorker:
        """Start a worker without waiting for it."""
        ...

    def can_confine(self, started: Limits, wanted: Limits, /) -> bool:
        """Tell whether a worker started with some limits can be confined to others."""
        ...

    async def close(self) -> None:
        """Kill every worker and leave nothing behind."""
        ...
