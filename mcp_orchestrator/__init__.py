"""mcp-orchestrator: work that survives, for AI clients.

The public interface is what this module exports; everything else may move.
"""

__version__ = "0.1.0"
