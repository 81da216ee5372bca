"""A real redis-server of the tests' own, on a free port, append-only file on."""

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import await_ready, find_program, free_port, stop_process


@dataclass
class RedisServer:
    """A running server; ``url`` is what clients connect to."""

    process: "subprocess.Popen[bytes]"
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Return the URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        """End it."""
        stop_process(self.process)


def start_redis(
    folder: Path, *, port: int | None = None, options: tuple[str, ...] = ()
) -> RedisServer:
    """Start a server whose files live in a folder; the same folder and port restart it."""
    program = find_program("redis-server")
    port = port or free_port()
    log = folder / "redis.log"
    command = [
        program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", *options,
    ]  # fmt: skip
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)

    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    await_ready(process, answers, log)
    return RedisServer(process, port, folder)
