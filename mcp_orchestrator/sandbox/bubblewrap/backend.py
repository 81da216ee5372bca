"""bubblewrap behind the sandbox's port."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import anyio
from anyio import to_thread

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.bubblewrap.cgroups import Allowance, Group
from mcp_orchestrator.sandbox.bubblewrap.control import (
    LauncherControl,
    LifelineMessage,
    Lines,
    layout_of,
)
from mcp_orchestrator.sandbox.bubblewrap.installation import (
    Installation,
    find_environment,
    find_installation,
)
from mcp_orchestrator.sandbox.bubblewrap.packets import LONGEST_MESSAGE
from mcp_orchestrator.sandbox.greeting import Greeting, GuestModules
from mcp_orchestrator.sandbox.layers import GuestFacts
from mcp_orchestrator.sandbox.port import Usage
from mcp_orchestrator.sandbox.profiles import PLAIN, Profiles
from mcp_orchestrator.sandbox.request import MEBIBYTE, Limits
from mcp_orchestrator.sandbox.seccomp import compile_filter, load_policy
from mcp_orchestrator.sandbox.sockets import is_quiet, receive, send

_START_SECONDS = 10.0
_log = logging.getLogger(__name__)
_PIECE = 262_144
_CPUS = 1.0
#: The supervisor's own share, on top of what the program may use.
_SUPERVISOR_BYTES = 16 * MEBIBYTE
_SUPERVISOR_PROCESSES = 2
#: What an interpreter maps before it does anything, where memory is limited by address space.
_MAPPED_BYTES = 64 * MEBIBYTE
_LONGEST_COMPLAINT = 300
_COUNTERS = 3  # all that a group has to tell
#: The controllers, by their names in the results; each falls back to a resource limit.
_LIMITED = {"memory": "memory", "pids": "processes", "cpu": "processor-time"}


class BubblewrapBackend:
    """Namespaces by bubblewrap; workers are started by the launcher."""

    name = "bubblewrap"

    def __init__(
        self,
        installation: Installation,
        control: LauncherControl,
        profiles: Profiles | None = None,
        *,
        forks: bool = False,
    ) -> None:
        self._control = control
        self._forks = forks
        self._installation = installation
        self._modules = {PLAIN: GuestModules()}
        self._orders: dict[str, dict[str, object]] = {PLAIN: {}}
        how = "workers forked" if forks else "each worker started"
        self.version = f"{installation.version}, {how}"
        self.profiles = profiles or Profiles()

    @classmethod
    async def open(
        cls,
        installation: Installation | None = None,
        profiles: Profiles | None = None,
        *,
        nursery: bool = True,
    ) -> "BubblewrapBackend":
        """Find what is needed and start the launcher.

        Args:
            installation: what sandboxes are made of; None looks for it on this machine.
            profiles: the virtual environments that can be asked for.
            nursery: have workers of the plain profile forked from a Python that has started, where
                the kernel allows; else each is started by bubblewrap.

        Raises:
            SandboxUnavailableError: something is missing, with the remedy.
        """
        if installation is None:
            installation = await to_thread.run_sync(find_installation)
        compiled = compile_filter(load_policy())
        control = LauncherControl(installation, compiled, nursery=nursery)
        reply = await control.start()
        if nursery and not reply.forks:
            _log.warning("Every sandbox worker is started by bubblewrap: %s", reply.error)
        return cls(installation, control, profiles, forks=reply.forks)

    async def prepare(self, profile: str) -> None:
        """Look at a profile's virtual environment; see ``Backend``."""
        if profile in self._orders:
            return
        folder = Path(self.profiles.source(profile))
        found = await to_thread.run_sync(find_environment, self._installation, folder)
        environment = self.profiles.environment(profile)
        self._modules[profile] = GuestModules()
        self._orders[profile] = {"layout": layout_of(found), "environment": environment}

    def begin(self, limits: Limits, profile: str = PLAIN) -> "StartingBubblewrapWorker":
        """Start a worker without waiting for it."""
        forked = self._forks and profile == PLAIN
        order = {
            "allowance": asdict(_allowance(limits)),
            "disk_bytes": limits.disk_bytes,
            "forked": forked,
            **self._orders[profile],
        }
        modules = self._modules[profile]
        return StartingBubblewrapWorker(
            self._control.order(order), limits, modules, knows_modules=forked
        )

    def can_confine(self, started: Limits, wanted: Limits) -> bool:
        """Everything but the size of the disk can be changed in a started worker."""
        return started.disk_bytes == wanted.disk_bytes

    async def close(self) -> None:
        """Kill every worker and leave nothing behind."""
        await self._control.close()


def _allowance(limits: Limits) -> Allowance:
    return Allowance(
        memory_bytes=limits.memory_bytes + _SUPERVISOR_BYTES,
        processes=limits.processes + _SUPERVISOR_PROCESSES,
        cpus=_CPUS,
    )


class StartingBubblewrapWorker:
    """A worker on its way; the modules it needs are already waiting in its socket."""

    def __init__(
        self, lines: Lines, limits: Limits, modules: GuestModules, *, knows_modules: bool
    ) -> None:
        self._lines = lines
        self._limits = limits
        self._greeting = Greeting(modules, BubblewrapBackend.name)
        self._facts: GuestFacts | None = None
        self._held: LifelineMessage | None = None
        self._error: SandboxUnavailableError | None = None
        frame = b"" if knows_modules else modules.frame()
        try:
            self._unsent = frame[lines.channel.send(frame) :]
        except OSError:
            self._unsent = frame

    def advance(self) -> None:
        """Take in what it has said so far; see ``StartingWorker``."""
        try:
            if self._unsent:
                self._unsent = self._unsent[self._lines.channel.send(self._unsent) :]
            if self._facts is None and not self._unsent:
                data = self._lines.channel.recv(_PIECE)
                self._facts = self._greeting.feed(data) if data else None
            if self._held is None and self._facts is not None:
                self._held = _understood(self._lines.lifeline.recv(LONGEST_MESSAGE))
        except OSError:
            return  # nothing has come, or it has ended, which ``ready`` will find
        except SandboxUnavailableError as error:
            self._error = error

    async def ready(self) -> "BubblewrapWorker":
        """Wait until the guest waits for its request; see ``StartingWorker``."""
        if self._error is not None:
            await self.close()
            raise self._error
        try:
            if self._facts is not None and self._held is not None:
                return self._worker(self._facts, self._held)
            with anyio.fail_after(_START_SECONDS):
                return await self._greet()
        except TimeoutError as error:
            await self.close()
            raise SandboxUnavailableError(
                f"A sandbox did not start within {_START_SECONDS:g} s.",
                remedy="See whether the machine is overloaded, then try again.",
            ) from error
        except BaseException:
            await self.close()
            raise

    async def _greet(self) -> "BubblewrapWorker":
        await send(self._lines.channel, self._unsent)
        while self._facts is None:
            data = await receive(self._lines.channel, _PIECE)
            if not data:
                raise await self._explain()
            self._facts = self._greeting.feed(data)
        if self._held is None:
            self._held = _understood(await receive(self._lines.lifeline, LONGEST_MESSAGE))
        return self._worker(self._facts, self._held)

    def _worker(self, facts: GuestFacts, held: LifelineMessage) -> "BubblewrapWorker":
        if not (is_quiet(self._lines.channel) and is_quiet(self._lines.lifeline)):
            raise SandboxUnavailableError("A sandbox ended while it waited.")
        return BubblewrapWorker(self._lines, self._limits, facts, held)

    async def _explain(self) -> SandboxUnavailableError:
        """Say why a sandbox ended before it greeted."""
        message = LifelineMessage()
        while not message.ended:
            data = await receive(self._lines.lifeline, LONGEST_MESSAGE)
            if not data:
                break
            message = LifelineMessage.model_validate_json(data)
        complaint = message.complaints.strip()[-_LONGEST_COMPLAINT:] or "no reason was given"
        return SandboxUnavailableError(
            f"bubblewrap cannot isolate here: {complaint}.", remedy=_remedy(complaint)
        )

    async def close(self) -> None:
        """Give it up."""
        self._lines.channel.close()
        self._lines.lifeline.close()


def _understood(data: bytes) -> LifelineMessage:
    return LifelineMessage.model_validate_json(data) if data else LifelineMessage(ended=True)


def _remedy(complaint: str) -> str:
    namespaces = ("namespace", "uid map", "proc on", "Operation not permitted", "loopback")
    if any(word in complaint for word in namespaces):
        return (
            "User namespaces are forbidden. On Ubuntu 24.04 and later: `sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0` or an AppArmor profile for bwrap; on "
            "older Debian: `sysctl -w kernel.unprivileged_userns_clone=1`; where "
            "user.max_user_namespaces is 0, raise it; inside a container: run it with "
            "--security-opt seccomp=unconfined, or give the server a Docker engine instead."
        )
    return "Run `mcp-orchestrator doctor`, or use Docker."


class BubblewrapWorker:
    """A guest that waits; see ``Worker``."""

    def __init__(
        self, lines: Lines, limits: Limits, facts: GuestFacts, held: LifelineMessage
    ) -> None:
        self._lines = lines
        self._limits = limits
        self._controllers = held.held
        self._group: Group | None = None
        if held.group is not None:
            self._group = Group(held.group.folders, unified=held.group.unified)
        self.facts = facts

    @property
    def limits_held(self) -> Sequence[str]:
        """The limits enforced, each by control group where there is one, else by rlimit."""
        by = {
            name: "cgroup" if controller in self._controllers else "rlimit"
            for controller, name in _LIMITED.items()
        }
        limits = (f"{name}-by-{how}" for name, how in by.items())
        return (*limits, "disk-by-size", "output-cap", "wall-clock")

    async def confine(self, limits: Limits) -> None:
        """Set the limits of the run to come, where they differ from those it started with."""
        if _allowance(limits) != _allowance(self._limits):
            word = json.dumps({"confine": asdict(_allowance(limits))}).encode()
            self._controllers = (await self._ask(word)).held
        self._limits = limits

    def resource_limits(self, limits: Limits) -> dict[str, int]:
        """Return the ``RLIMIT_*`` that the guest is to set for the program."""
        chosen = {
            "CORE": 0,
            "NOFILE": 256,
            "FSIZE": limits.disk_bytes,
            "CPU": max(1, round(limits.cpu_seconds)),
            "NPROC": limits.processes + 1,
        }
        if "memory" not in self._controllers:
            chosen["AS"] = limits.memory_bytes + _MAPPED_BYTES
        return chosen

    async def send(self, data: bytes) -> None:
        """Send bytes to the guest."""
        await send(self._lines.channel, data)

    async def receive(self) -> bytes:
        """Return some bytes from the guest; none when it has ended."""
        return await receive(self._lines.channel, _PIECE)

    async def usage(self, *, reported: bool) -> Usage:  # noqa: ARG002 — it costs little to ask
        """Return what the control group saw; the launcher knows it when the group has gone."""
        seen = self._group.usage() if self._group is not None else {}
        if len(seen) == _COUNTERS:
            return Usage(**seen)
        return Usage(**(await self._ask(b'{"usage": true}')).usage)

    async def _ask(self, word: bytes) -> LifelineMessage:
        await send(self._lines.lifeline, word)
        return await self._hear()

    async def _hear(self) -> LifelineMessage:
        return _understood(await receive(self._lines.lifeline, LONGEST_MESSAGE))

    async def close(self) -> None:
        """Let go of the lifeline: the launcher kills what still runs."""
        self._lines.channel.close()
        self._lines.lifeline.close()
