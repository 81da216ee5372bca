"""Calls that may take long: one implementation behind the three ways to wait for them.

A long call is a queued task whose handler calls the tool itself. A client that knows MCP tasks gets
it as one. Any other waits for a bounded time, is told of progress meanwhile, and asks for the task
later if it has not ended. So a call survives the server that took it, and any worker runs it.
"""

from mcp_orchestrator.server.long_calls.backend import LongCalls

__all__ = ["LongCalls"]
