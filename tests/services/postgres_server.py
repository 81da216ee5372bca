"""A real PostgreSQL of the tests' own, in a folder of its own, on a free port, with fsync on."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.process import (
    ServiceMissingError,
    await_ready,
    find_program,
    free_port,
    stop_process,
)


@dataclass
class PostgresServer:
    """A running server; ``create_database`` gives each test an empty database."""

    process: "subprocess.Popen[bytes]"
    port: int
    folder: Path
    binaries: str
    names: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def url(self, database: str = "postgres") -> str:
        """Return the URL of one database."""
        return f"postgresql://orchestrator@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{next(self.names)}"
        subprocess.run(
            [f"{self.binaries}/psql", "-qX", self.url(), "-c", f"CREATE DATABASE {name}"],
            check=True, capture_output=True,
        )  # fmt: skip
        return self.url(name)

    def stop(self) -> None:
        """End it at once (immediate shutdown); its data is thrown away."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
        stop_process(self.process)


def _binaries() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return str((found[0] if found else Path(find_program("initdb"))).parent)


def _unprivileged() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root, so root starts it as somebody else."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServiceMissingError("PostgreSQL refuses to run as root and there is no user to run it as")


def start_postgres(folder: Path) -> PostgresServer:
    """Initialise a cluster in a folder and start it."""
    binaries, port, user = _binaries(), free_port(), _unprivileged()
    data, log = folder / "data", folder / "postgres.log"
    data.mkdir(mode=0o700)
    log.touch()
    uid, gid = (user.pw_uid, user.pw_gid) if user is not None else (None, None)
    if user is not None:
        for path in (folder, data, log):
            shutil.chown(path, user.pw_uid, user.pw_gid)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [f"{binaries}/initdb", "-D", str(data), "-U", "orchestrator", "-A", "trust",
         "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, cwd=folder, env=environment, user=uid, group=gid,
    )  # fmt: skip
    with log.open("ab") as output:
        process = subprocess.Popen(
            [f"{binaries}/postgres", "-D", str(data), "-p", str(port), "-k", str(folder),
             "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"],
            stdout=output, stderr=output, cwd=folder, env=environment, user=uid, group=gid,
        )  # fmt: skip
    server = PostgresServer(process, port, folder, binaries)

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        command = [f"{binaries}/psql", "-qXc", "SELECT 1", server.url()]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    await_ready(process, answers, log)
    return server
