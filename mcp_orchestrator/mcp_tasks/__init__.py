"""MCP tasks: the extension ``io.modelcontextprotocol/tasks`` (SEP-2663), for any server.

It knows the protocol and nothing else. Whoever can start, show and cancel long work hands in a
``TaskBackend``; where the work is kept decides what survives.
"""

from mcp_orchestrator.mcp_tasks.extension import Tasks
from mcp_orchestrator.mcp_tasks.task import McpTask, TaskBackend, TaskStatus

__all__ = ["McpTask", "TaskBackend", "TaskStatus", "Tasks"]
