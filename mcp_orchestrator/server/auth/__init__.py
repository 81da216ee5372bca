"""Who calls, what they may do, and how that is proven over the network."""

from mcp_orchestrator.server.auth.caller import Caller, current_caller
from mcp_orchestrator.server.auth.principal import LOCAL, Principal

__all__ = ["LOCAL", "Caller", "Principal", "current_caller"]
