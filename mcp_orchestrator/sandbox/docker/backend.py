"""Docker behind the sandbox's port: a container for each run, started before it is needed."""

import os
import socket
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.docker.attachment import Demultiplexer, attach
from mcp_orchestrator.sandbox.docker.containers import (
    OWNER_LABEL,
    ContainerRequest,
    container_body,
)
from mcp_orchestrator.sandbox.docker.engine import DockerEngine
from mcp_orchestrator.sandbox.docker.runtimes import GVISOR, choose_runtime
from mcp_orchestrator.sandbox.greeting import Greeting, GuestModules
from mcp_orchestrator.sandbox.layers import GuestFacts
from mcp_orchestrator.sandbox.port import Usage
from mcp_orchestrator.sandbox.profiles import PLAIN, Profiles
from mcp_orchestrator.sandbox.request import Limits
from mcp_orchestrator.sandbox.sockets import receive, send

_START_SECONDS = 30.0
_PIECE = 262_144
_STARTERS, _REMOVERS = 4, 4
_LONGEST_COMPLAINT = 300


@dataclass(frozen=True)
class _Started:
    """A started container and the stream to it."""

    container: str
    connection: socket.socket
    already: bytes


class DockerBackend:
    """Containers on a Docker engine; its blocking client works in threads of its own."""

    name = "docker"

    def __init__(
        self,
        engine: DockerEngine,
        digest: str,
        profiles: Profiles | None = None,
        runtime: str | None = None,
    ) -> None:
        self.version = engine.version if runtime is None else f"{engine.version} with {runtime}"
        self.runtime = runtime
        self.profiles = profiles or Profiles()
        self._engine = engine
        self._digests = {PLAIN: digest}
        self._modules = {PLAIN: GuestModules()}
        self._starters = ThreadPoolExecutor(_STARTERS, "sandbox-start")
        self._removers = ThreadPoolExecutor(_REMOVERS, "sandbox-remove")
        self._owner = _owner(os.getpid())

    @classmethod
    async def open(
        cls,
        url: str | None,
        image: str,
        profiles: Profiles | None = None,
        runtime: str = "auto",
    ) -> "DockerBackend":
        """Connect to an engine, find the image, and remove what a killed server left behind.

        Raises:
            SandboxUnavailableError: no engine answers, or it does not have the image.
        """

        def connect() -> DockerBackend:
            engine = DockerEngine(url)
            chosen = choose_runtime(runtime, engine.runtimes())
            backend = cls(engine, engine.image_digest(image), profiles, chosen)
            backend.remove_strays()
            return backend

        return await to_thread.run_sync(connect)

    def remove_strays(self) -> int:
        """Remove containers of servers of this machine that are no more; returns how many."""
        removed = 0
        for container, labels in self._engine.labelled():
            if _is_dead(labels.get(OWNER_LABEL, "")):
                self._engine.remove(container)
                removed += 1
        return removed

    async def prepare(self, profile: str) -> None:
        """Find a profile's image; see ``Backend``."""
        if profile not in self._digests:
            image = self.profiles.source(profile)
            digest = await to_thread.run_sync(self._engine.image_digest, image)
            self._modules[profile] = GuestModules()
            self._digests[profile] = digest

    def begin(self, limits: Limits, profile: str = PLAIN) -> "StartingDockerWorker":
        """Start a container without waiting for it."""
        future = self._starters.submit(self._start, limits, profile)
        return StartingDockerWorker(self, future, self._modules[profile])

    def can_confine(self, started: Limits, wanted: Limits) -> bool:
        """A container's memory, processes and disk are fixed when it is made."""
        return (started.memory_bytes, started.processes, started.disk_bytes) == (
            wanted.memory_bytes,
            wanted.processes,
            wanted.disk_bytes,
        )

    def _start(self, limits: Limits, profile: str) -> _Started:
        request = ContainerRequest(
            self._digests[profile],
            self._owner,
            limits,
            self._engine.machine,
            self.profiles.environment(profile),
            self.runtime,
        )
        container = self._engine.create(container_body(request))
        try:
            connection, already = attach(self._engine, container)
            try:
                self._engine.start(container)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            self._engine.remove(container)
            raise
        return _Started(container, connection, already)

    def discard(self, container: str) -> None:
        """Kill and remove a container in the background."""
        with suppress(RuntimeError):  # closing; then every container of ours is swept away
            self._removers.submit(self._engine.remove, container)

    async def was_out_of_memory(self, container: str) -> bool:
        """Tell whether a container's supervisor itself was killed for its memory."""
        return await to_thread.run_sync(self._engine.was_out_of_memory, container)

    async def close(self) -> None:
        """Remove every container of this server; returns when they are gone."""

        def finish() -> None:
            self._starters.shutdown(wait=True)
            self._removers.shutdown(wait=True)
            with suppress(SandboxUnavailableError):  # an engine that is gone holds nothing
                for container, labels in self._engine.labelled():
                    if labels.get(OWNER_LABEL) == self._owner:
                        self._engine.remove(container)
            self._engine.close()

        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(finish)


class StartingDockerWorker:
    """A container on its way."""

    def __init__(
        self, backend: DockerBackend, future: "Future[_Started]", modules: GuestModules
    ) -> None:
        self._backend = backend
        self._future = future
        self._modules = modules

    def advance(self) -> None:
        """Do nothing: beside a container's start its greeting takes no time."""

    async def ready(self) -> "DockerWorker":
        """Wait until the guest waits for its request; see ``StartingWorker``."""
        try:
            with anyio.fail_after(_START_SECONDS):
                if self._future.done():
                    started = self._future.result()
                else:
                    started = await to_thread.run_sync(self._future.result, abandon_on_cancel=True)
                return await self._greet(started)
        except TimeoutError as error:
            await self.close()
            raise SandboxUnavailableError(
                f"A container did not start within {_START_SECONDS:g} s.",
                remedy="See whether the machine is overloaded, then try again.",
            ) from error
        except BaseException:
            await self.close()
            raise

    async def _greet(self, started: _Started) -> "DockerWorker":
        worker = DockerWorker(self._backend, started)
        await worker.send(self._modules.frame())
        own_kernel = self._backend.runtime == GVISOR
        greeting = Greeting(self._modules, self._backend.name, own_kernel=own_kernel)
        facts: GuestFacts | None = None
        while facts is None:
            data = await worker.receive()
            if not data:
                complaint = worker.complaint() or "no reason was given"
                raise SandboxUnavailableError(
                    f"A container ended before it could be used: {complaint}.",
                    remedy="See that the image has a python3 of 3.10 or later.",
                )
            facts = greeting.feed(data)
        if not worker.is_alive():
            raise SandboxUnavailableError("A container ended while it waited.")
        worker.facts = facts
        return worker

    async def close(self) -> None:
        """Give it up, now or as soon as it has started."""
        if not self._future.cancel():
            self._future.add_done_callback(self._discard)

    def _discard(self, future: "Future[_Started]") -> None:
        if future.exception() is None:
            started = future.result()
            started.connection.close()
            self._backend.discard(started.container)


class DockerWorker:
    """A guest that waits in a container; see ``Worker``."""

    facts: GuestFacts
    limits_held: Sequence[str] = (
        "memory-by-cgroup", "processes-by-cgroup", "processor-time-by-cgroup", "disk-by-size",
        "output-cap", "wall-clock",
    )  # fmt: skip

    def __init__(self, backend: DockerBackend, started: _Started) -> None:
        self._backend = backend
        self._container = started.container
        self._connection = started.connection
        self._streams = Demultiplexer()
        self._early = self._streams.feed(started.already)
        self._closed = False

    async def confine(self, limits: Limits) -> None:
        """Do nothing: the container was made with its limits."""

    def resource_limits(self, limits: Limits) -> dict[str, int]:
        """Return the ``RLIMIT_*`` that the guest is to set for the program.

        Not the number of processes: the kernel would count every container's of the same user.
        """
        return {
            "CORE": 0,
            "NOFILE": 256,
            "FSIZE": limits.disk_bytes,
            "CPU": max(1, round(limits.cpu_seconds)),
        }

    async def send(self, data: bytes) -> None:
        """Send bytes to the guest."""
        await send(self._connection, data)

    async def receive(self) -> bytes:
        """Return some bytes from the guest; none when it has ended."""
        early, self._early = self._early, b""
        while not early:
            data = await receive(self._connection, _PIECE)
            if not data:
                return b""
            early = self._streams.feed(data)
        return early

    def is_alive(self) -> bool:
        """Tell whether the stream to the guest still stands."""
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def complaint(self) -> str:
        """Return the end of what the guest itself wrote to its standard error."""
        return self._streams.errors.decode("utf-8", "replace").strip()[-_LONGEST_COMPLAINT:]

    async def usage(self, *, reported: bool) -> Usage:
        """Return what the engine saw; asked only of a guest that could not report."""
        if reported:
            return Usage()
        killed = await self._backend.was_out_of_memory(self._container)
        return Usage(oom_kills=int(killed))

    async def close(self) -> None:
        """Kill and remove the container in the background."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._backend.discard(self._container)


def _owner(process_id: int) -> str:
    """Name a process of this machine for good: ids are used again, starting times are not."""
    return f"{socket.gethostname()}/{process_id}/{_starting_time(process_id)}"


def _starting_time(process_id: int) -> str:
    try:
        words = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "gone"
    return words[19]  # field 22 of the line, in ticks since boot


def _is_dead(owner: str) -> bool:
    host, _, rest = owner.partition("/")
    process_id, _, started = rest.partition("/")
    if host != socket.gethostname() or not process_id.isdigit():
        return False  # of another machine that shares the engine
    return _starting_time(int(process_id)) != started
