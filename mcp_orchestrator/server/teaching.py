"""Errors that teach: what the model reads when a tool cannot do what it was asked."""

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError

from mcp_orchestrator.errors import NotFoundError, OrchestratorError

P = ParamSpec("P")
T = TypeVar("T")


def teaching(tool: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Let the model read our own errors; any other exception stays in the log."""

    @functools.wraps(tool)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await tool(*args, **kwargs)
        except OrchestratorError as error:
            raise ToolError(f"[{error.code}] {error}") from error

    return call


def teaching_resource(read: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Answer an unknown id as MCP asks (-32602), other errors of ours with their text."""

    @functools.wraps(read)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await read(*args, **kwargs)
        except NotFoundError as error:
            raise ResourceNotFoundError(str(error)) from error
        except OrchestratorError as error:
            raise ResourceError(str(error)) from error

    return call
