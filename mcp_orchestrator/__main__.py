"""``python -m mcp_orchestrator`` is the command ``mcp-orchestrator``."""

from mcp_orchestrator.cli import main

main()
