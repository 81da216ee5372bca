"""What stands in the sandbox's place where no isolation can be had: it refuses every run."""

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.port import Worker
from mcp_orchestrator.sandbox.profiles import PLAIN, Profiles
from mcp_orchestrator.sandbox.request import Limits


class NoBackend:
    """A back end that never starts anything, so that the server can still serve the rest.

    Args:
        error: why there is none, and what to do; raised at every run.
    """

    name = "none"
    version = "none"
    profiles = Profiles()

    def __init__(self, error: SandboxUnavailableError) -> None:
        self._error = error

    async def prepare(self, _profile: str) -> None:
        """Refuse, with the reason."""
        raise SandboxUnavailableError(self._error.message, remedy=self._error.remedy)

    def begin(self, _limits: Limits, _profile: str = PLAIN) -> "_NeverReady":
        """Return a worker that never gets ready."""
        return _NeverReady(self._error)

    def can_confine(self, _started: Limits, _wanted: Limits) -> bool:
        """Tell that nothing can be confined."""
        return False

    async def close(self) -> None:
        """Close nothing."""


class _NeverReady:
    def __init__(self, error: SandboxUnavailableError) -> None:
        self._error = error

    def advance(self) -> None:
        """Expect nothing."""

    async def ready(self) -> Worker:
        raise SandboxUnavailableError(self._error.message, remedy=self._error.remedy)

    async def close(self) -> None:
        """Close nothing."""
