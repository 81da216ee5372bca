"""A real server of the S3 protocol, on loopback, with one bucket."""

import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.services.process import ServiceMissingError, await_ready, free_port, stop_process


@dataclass
class S3Server:
    """A running server; what a client needs to know of it is in ``settings``."""

    process: "subprocess.Popen[bytes]"
    port: int

    @property
    def settings(self) -> dict[str, str]:
        """Return the environment variables that lead a client here."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def stop(self) -> None:
        """End it."""
        stop_process(self.process)


def start_s3(folder: Path) -> S3Server:
    """Start the server; what it stores is in its memory."""
    for module in ("moto", "flask", "boto3", "pyarrow"):
        if find_spec(module) is None:
            raise ServiceMissingError(f"the package {module!r} is not installed")
    port, log = free_port(), folder / "s3.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output, stderr=output, cwd=folder,
        )  # fmt: skip

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    await_ready(process, answers, log)
    return S3Server(process, port)
