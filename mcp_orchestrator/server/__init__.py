"""The MCP server: tools, resources, prompts and transports. Nothing else here speaks MCP."""

from mcp_orchestrator.server.app import build_server
from mcp_orchestrator.server.transports import serve

__all__ = ["build_server", "serve"]
