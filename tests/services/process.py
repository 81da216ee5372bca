"""Starting and stopping the real programs that the tests talk to, by process id."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


class ServiceMissingError(Exception):
    """A program that a test needs cannot be had here; the message names it."""


def find_program(name: str, *folders: str) -> str:
    """Return the path of a program, or raise ServiceMissingError."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *folders])
    found = shutil.which(name, path=path)
    if found is None:
        raise ServiceMissingError(f"the program {name!r} is not installed")
    return found


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_ready(process: "subprocess.Popen[bytes]", ready: Callable[[], bool], log: Path) -> None:
    """Poll a starting service until it answers; raise with its log when it dies or is too slow."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.02)
    stop_process(process)
    raise ServiceMissingError(f"{process.args!r} did not start: {log.read_text()[-800:]}")


def stop_process(process: "subprocess.Popen[bytes]", *, patience: float = 10) -> None:
    """End one process by its id: politely, then not."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
