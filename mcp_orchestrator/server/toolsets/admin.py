"""Tools about the server itself."""

from mcp.server import MCPServer

from mcp_orchestrator.runtime import HealthReport
from mcp_orchestrator.server.hints import READS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""

    @server.tool(title="Is everything working?", annotations=READS)
    @teaching
    async def health() -> HealthReport:
        """Say which back end each part uses, whether it answers, and what to do if it does not."""
        return await runtime.health()
