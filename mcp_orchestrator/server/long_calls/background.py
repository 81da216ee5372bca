"""A tool that runs while no client holds a call open: its context, and its caller."""

from typing import Any, Final

from mcp.server.mcpserver import Context
from mcp_types import ClientCapabilities, InputResponseRequestParams
from mcp_types.version import LATEST_MODERN_VERSION

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.queue import TaskContext
from mcp_orchestrator.server.auth import LOCAL, Caller, Principal

#: Progress is written down; more often than this nobody would read it, in seconds.
_TELL_EVERY: Final = 0.5


class BackgroundContext(Context[Any, Any]):
    """What a tool is handed in place of its client's call.

    Questions are asked as in the modern era: the tool ends, and is called anew with the answers.

    Args:
        task: where progress goes.
        capabilities: what the client can be asked, when it comes back.
        answers: to what the tool has asked before.
        clock: bounds how often progress is written.
    """

    _task: TaskContext
    _capabilities: ClientCapabilities
    _clock: Clock
    _told_at: float | None

    def __init__(
        self,
        task: TaskContext,
        capabilities: ClientCapabilities,
        answers: InputResponseRequestParams,
        clock: Clock,
    ) -> None:
        super().__init__(input_params=answers)
        self._task = task
        self._capabilities = capabilities
        self._clock = clock
        self._told_at = None

    async def report_progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Write down how far the tool is, unless it has just been written down."""
        now = self._clock.monotonic()
        if self._told_at is None or now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            await self._task.report_progress(message or "", progress, total)

    @property
    def protocol_version(self) -> str:
        """The era in which a tool that asks ends."""
        return LATEST_MODERN_VERSION

    @property
    def client_capabilities(self) -> ClientCapabilities:
        """What the client can be asked."""
        return self._capabilities


def caller_in_background(owner: str | None) -> Caller:
    """Return who a task's tool runs for; what they may call was checked when they called it."""
    return Caller(LOCAL if owner is None else Principal(owner, frozenset({"write"})))
