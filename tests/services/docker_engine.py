"""A real Docker engine of the tests' own, on a private socket.

Its image is made without a registry: the root file system is made once by debootstrap and kept
in a cache folder.
"""

import os
import shutil
import signal
import socket
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from mcp_orchestrator.sandbox.docker.engine import DockerEngine
from tests.services.process import (
    ServiceMissingError,
    await_ready,
    find_program,
    stop_process,
)

_ROOT = "root-bookworm-2.tar"
_PACKAGES = "python3,python3-pytest,python3-coverage"
IMAGE = "mcp-orchestrator-sandbox:latest"


@dataclass
class DockerServer:
    """A running engine."""

    process: "subprocess.Popen[bytes]"
    url: str
    folder: Path
    image: str = IMAGE

    def kill(self) -> None:
        """End it as a crash would, its helper processes included."""
        name = self.folder / "exec" / "containerd" / "containerd.pid"
        containerd = int(name.read_text())
        self.process.kill()
        self.process.wait()
        os.kill(containerd, signal.SIGKILL)
        name.unlink()  # where nobody reaps orphans, the next engine would wait for this one

    def stop(self) -> None:
        """End it with its containers."""
        stop_process(self.process, patience=20)
        data = str(self.folder / "data")  # the engine leaves its own folder mounted on itself
        subprocess.run(["umount", data], check=False, capture_output=True)


def cache_folder() -> Path:
    """Return where what takes long to make is kept between test runs."""
    chosen = os.environ.get("MCPO_TEST_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "mcp-orchestrator-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _mirror() -> str:
    """Return the mirror that this machine's own packages come from."""
    for file in sorted(Path("/etc/apt").glob("sources.list.d/debian.sources")):
        for line in file.read_text().splitlines():
            if line.startswith("URIs:"):
                return line.split()[1]
    raise ServiceMissingError("no Debian mirror is configured, so no image can be made")


def root_file_system() -> Path:
    """Return a tar file with a small Debian, Python, pytest and coverage; made at first use."""
    packed = cache_folder() / _ROOT
    if packed.exists():
        return packed
    debootstrap = find_program("debootstrap")
    work = cache_folder() / f"root-{os.getpid()}"
    command = [debootstrap, "--variant=minbase", f"--include={_PACKAGES}", "bookworm"]
    done = subprocess.run([*command, str(work), _mirror()], check=False, capture_output=True)
    try:
        if done.returncode != 0:
            raise ServiceMissingError(f"debootstrap failed: {done.stdout[-400:]!r}")
        for surplus in work.glob("var/cache/apt/archives/*.deb"):
            surplus.unlink()
        unfinished = packed.with_suffix(f".{os.getpid()}")
        with tarfile.open(unfinished, "w") as archive:
            archive.add(work, ".")
        unfinished.rename(packed)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return packed


def start_docker(folder: Path, *options: str) -> DockerServer:
    """Start an engine whose files live in a folder, with the sandbox's image.

    Args:
        folder: a short path, for its socket.
        options: more of dockerd's options.
    """
    if os.geteuid() != 0:
        raise ServiceMissingError("a Docker engine of the tests' own needs root")
    program = find_program("dockerd")
    root = root_file_system()
    url = f"unix://{folder}/docker.sock"
    log = folder / "docker.log"
    command = [
        program, "--iptables=false", "--ip6tables=false", "--bridge=none", "--data-root",
        str(folder / "data"), "--exec-root", str(folder / "exec"), "--pidfile",
        str(folder / "pid"), "-H", url, *options,
    ]  # fmt: skip
    with log.open("ab") as output:
        environment = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def answers() -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(f"{folder}/docker.sock")
                probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b"200 OK" in probe.recv(200)
        except OSError:
            return False

    await_ready(process, answers, log)
    server = DockerServer(process, url, folder)
    try:
        engine = DockerEngine(url)
        engine.import_image(root, IMAGE)
        engine.close()
    except BaseException:
        server.stop()
        raise
    return server


if __name__ == "__main__":  # makes the root file system ahead, which takes a minute or two
    root_file_system()
