"""The MCP server: tools, resources, prompts and transports. Nothing else here speaks MCP."""

from mcp_orchestrator.server.app import build_server
from mcp_orchestrator.server.standard_streams import StandardStreams
from mcp_orchestrator.server.transports import Beside, serve_http, serve_stdio

__all__ = ["Beside", "StandardStreams", "build_server", "serve_http", "serve_stdio"]
