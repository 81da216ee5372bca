"""The small real model of the demo, for tests; skipped with the reason where it is missing."""

from mcp_orchestrator.demo.local_model import INSTALL, is_installed
from tests.services.process import ServiceMissingError


def installed() -> None:
    """Raise ServiceMissingError unless the model can be run."""
    if not is_installed():
        raise ServiceMissingError(f"the local model is not installed: {INSTALL}")
