"""The settings, from every source.

Sources, the strongest first: command-line flags, environment variables (``MCP_ORCHESTRATOR_*``
and the customary names listed at each field), ``.env`` in the working folder, a TOML file,
defaults.
"""

from mcp_orchestrator.settings.loading import load_settings
from mcp_orchestrator.settings.settings import Settings
from mcp_orchestrator.settings.sources import PREFIX

__all__ = ["PREFIX", "Settings", "load_settings"]
