"""The parts of the program as one caller sees them.

Everything a caller starts is written down as theirs; everything else is not there for them, unless
they are an administrator. Tools and resources get nothing but these, so that a new tool cannot
forget to ask whose the thing is.
"""

from mcp_orchestrator.server.owned.workspace import Workspace, workspace_of

__all__ = ["Workspace", "workspace_of"]
