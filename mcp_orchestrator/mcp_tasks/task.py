"""One MCP task, and what the extension needs of whoever does the work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types import CallToolRequestParams

#: How long a client should pause before it asks again, in milliseconds.
POLL_INTERVAL_MS: Final = 2000
Json = dict[str, Any]
Context = ServerRequestContext[Any, Any]


class TaskStatus(StrEnum):
    """How an MCP task stands; the last three never change again."""

    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class McpTask:
    """An MCP task at one moment.

    Attributes:
        task_id: names it; nobody can guess it.
        status: how it stands. A tool's own error is ``COMPLETED``; ``FAILED`` is the protocol's.
        created_at: when it began.
        updated_at: when it changed last.
        message: how it stands, in words.
        ttl_ms: how long after its beginning it can be read at least; None for no end.
        result: the tool's result on the wire, once it is completed.
        error: the JSON-RPC error, once it has failed.
        input_requests: what is asked of the client, by keys that are never used again.
    """

    task_id: str
    status: TaskStatus
    created_at: datetime
    updated_at: datetime
    message: str | None = None
    ttl_ms: int | None = None
    result: Json | None = None
    error: Json | None = None
    input_requests: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def created(self) -> Json:
        """Return the answer to the call that made it."""
        return {**self._common(), "resultType": "task"}

    def detailed(self) -> Json:
        """Return the answer to ``tasks/get``."""
        told = {**self._common(), "resultType": "complete"}
        if self.status is TaskStatus.COMPLETED:
            told["result"] = self.result or {"content": []}
        elif self.status is TaskStatus.FAILED:
            told["error"] = self.error or {}
        elif self.status is TaskStatus.INPUT_REQUIRED:
            told["inputRequests"] = dict(self.input_requests)
        return told

    def _common(self) -> Json:
        told: Json = {
            "taskId": self.task_id,
            "status": self.status.value,
            "createdAt": self.created_at.isoformat(),
            "lastUpdatedAt": self.updated_at.isoformat(),
            "ttlMs": self.ttl_ms,
            "pollIntervalMs": POLL_INTERVAL_MS,
        }
        if self.message is not None:
            told["statusMessage"] = self.message
        return told


class TaskBackend(Protocol):
    """Does long work, and answers for it to the principal who began it and to nobody else."""

    def offers(self, tool: str) -> bool:
        """Tell whether calls of a tool may become tasks."""
        ...

    def requires(self, tool: str) -> bool:
        """Tell whether calls of a tool always become tasks."""
        ...

    async def begin(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> McpTask | HandlerResult:
        """Begin a call that may become a task; durable before it returns.

        Returns:
            The task, or the call's ordinary result where it does not become one.
        """
        ...

    async def answer(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Answer a call whose client takes no tasks: by ``call_next``, unless that takes too long.

        Returns:
            The call's ordinary result, or one that says how to ask for it later.
        """
        ...

    async def get(self, task_id: str) -> McpTask | None:
        """Return a task of the caller's, or None."""
        ...

    async def update(self, task_id: str, answers: Mapping[str, Json]) -> bool:
        """Hand over answers to a task of the caller's; False where there is none."""
        ...

    async def cancel(self, task_id: str) -> bool:
        """Ask a task of the caller's to stop; False where there is none."""
        ...
