"""The small real model of the demo, in a process of its own, for tests."""

import subprocess
import sys
from dataclasses import dataclass

from mcp_orchestrator.demo.local_model import INSTALL, is_installed
from tests.services.process import ServiceMissingError

COMMAND = [sys.executable, "-m", "mcp_orchestrator.demo.local_model"]


@dataclass
class LocalModelServer:
    """A running model; ``base_url`` ends in ``/v1``."""

    process: "subprocess.Popen[bytes]"
    base_url: str

    def stop(self) -> None:
        """End it by closing its stdin, or by its id."""
        try:
            self.process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def start_local_model() -> LocalModelServer:
    """Start the model, or raise ServiceMissingError."""
    if not is_installed():
        raise ServiceMissingError(f"the local model is not installed: {INSTALL}")
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    address = process.stdout.readline().decode().strip()
    if not address:
        process.kill()
        process.communicate()
        raise ServiceMissingError("the local model did not start; its stderr says why")
    return LocalModelServer(process, address)
