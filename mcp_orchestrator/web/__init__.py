"""What people and programs without MCP see of the server: the HTTP API and its event stream."""

from mcp_orchestrator.web.routes import all_endpoints, open_web

__all__ = ["all_endpoints", "open_web"]
