"""Choosing a back end: Docker if it answers and has the image, else bubblewrap, else a refusal."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.bubblewrap.backend import BubblewrapBackend
from mcp_orchestrator.sandbox.docker.backend import DockerBackend
from mcp_orchestrator.sandbox.metrics import SandboxMetrics
from mcp_orchestrator.sandbox.policy import RiskPolicy
from mcp_orchestrator.sandbox.port import Backend
from mcp_orchestrator.sandbox.profiles import Profiles, environments, profile_image
from mcp_orchestrator.sandbox.sandbox import Sandbox
from mcp_orchestrator.store.runs import RunStore
from mcp_orchestrator.telemetry.tracing import Tracing

BackendChoice = Literal["auto", "docker", "bubblewrap"]
DEFAULT_IMAGE = "mcp-orchestrator-sandbox:latest"


async def open_sandbox(
    choice: BackendChoice = "auto",
    *,
    clock: Clock,
    docker_host: str | None = None,
    image: str = DEFAULT_IMAGE,
    profiles: Profiles | None = None,
    environments_folder: Path | None = None,
    warm: int = 2,
    concurrency: int = 8,
    risk_policy: RiskPolicy | None = None,
    runs: RunStore | None = None,
    sessions: int = 8,
    session_idle_seconds: float = 600.0,
    metrics: SandboxMetrics | None = None,
    keep_files: timedelta = timedelta(days=7),
    runtime: str = "auto",
    tracing: Tracing | None = None,
    nursery: bool = True,
) -> Sandbox:
    """Open a sandbox and see that its walls stand; there is no unsandboxed fallback.

    Args:
        choice: ``auto`` takes Docker if an engine answers and has the image, else bubblewrap.
        clock: for deadlines and times.
        docker_host: the engine's URL; None for ``DOCKER_HOST`` or the usual socket.
        image: the image that containers are made from.
        profiles: images or virtual environments that can be asked for instead.
        environments_folder: where ``sandbox build`` makes virtual environments.
        warm: how many started workers wait.
        concurrency: how many runs go on at the same time; more of them wait their turn.
        risk_policy: from which risk scores on a program is run strictly, or refused.
        runs: where every run is recorded; None records nothing.
        sessions: how many sessions may be open at a time.
        session_idle_seconds: after how long without a run a session is closed.
        metrics: what is counted for Prometheus.
        keep_files: how long what runs left behind is kept.
        runtime: what Docker runs containers by; ``auto`` takes gVisor where it is offered.
        tracing: records runs; nothing does if left out.
        nursery: have bubblewrap's plain workers forked from a Python that has started.

    Raises:
        SandboxUnavailableError: no isolation can be had, with each reason and remedy.
    """
    doors = _Doors(
        docker_host, image, profiles or Profiles(), environments_folder, runtime, nursery
    )
    backend = await _open_backend(choice, doors)
    sandbox = Sandbox(
        backend,
        clock=clock,
        risk_policy=risk_policy or RiskPolicy(),
        warm=warm,
        concurrency=concurrency,
        runs=runs,
        sessions=sessions,
        session_idle_seconds=session_idle_seconds,
        metrics=metrics,
        keep_files=keep_files,
        tracing=tracing,
    )
    try:
        await sandbox.check()
    except BaseException:
        await sandbox.close()
        raise
    return sandbox


@dataclass(frozen=True)
class _Doors:
    """The ways to each back end."""

    docker_host: str | None
    image: str
    profiles: Profiles
    environments: Path | None
    runtime: str
    nursery: bool

    async def docker(self) -> Backend:
        profiles = self.profiles.beside({"data": profile_image("data")})
        return await DockerBackend.open(self.docker_host, self.image, profiles, self.runtime)

    async def bubblewrap(self) -> Backend:
        profiles = self.profiles.beside(environments(self.environments))
        return await BubblewrapBackend.open(profiles=profiles, nursery=self.nursery)


async def _open_backend(choice: BackendChoice, doors: _Doors) -> Backend:
    if choice == "bubblewrap":
        return await doors.bubblewrap()
    if choice == "docker":
        return await doors.docker()
    try:
        return await doors.docker()
    except SandboxUnavailableError as without_docker:
        try:
            return await doors.bubblewrap()
        except SandboxUnavailableError as without_bubblewrap:
            raise SandboxUnavailableError(
                f"{without_docker.message} {without_bubblewrap.message}",
                remedy=f"{without_docker.remedy} Or: {without_bubblewrap.remedy}",
            ) from without_bubblewrap
