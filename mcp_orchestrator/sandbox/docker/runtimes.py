"""What an engine runs containers by: runc, or gVisor, whose kernel is its own."""

from collections.abc import Sequence
from typing import Final

from mcp_orchestrator.errors import SandboxUnavailableError

GVISOR: Final = "runsc"


def choose_runtime(wanted: str, offered: Sequence[str]) -> str | None:
    """Return the runtime to ask for; None for the engine's own choice.

    Args:
        wanted: ``auto``, or a runtime's name.
        offered: what the engine has.

    Raises:
        SandboxUnavailableError: the engine does not have what was named.
    """
    if wanted == "auto":
        return GVISOR if GVISOR in offered else None
    if wanted not in offered:
        raise SandboxUnavailableError(
            f"The Docker engine has no runtime {wanted!r}; it has: {', '.join(offered)}.",
            remedy="Install it, or set sandbox_runtime to auto.",
        )
    return wanted
