"""`mcp-orchestrator worker`: processes that run queued tasks and sagas, and are kept alive."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import anyio
import typer
from anyio.abc import Process
from prometheus_client import CollectorRegistry

from mcp_orchestrator.cli.running import (
    DataDir,
    LogLevel,
    MetricsPort,
    metrics_of,
    run_until_done,
    settings_from,
)
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.runtime import open_runtime
from mcp_orchestrator.server import build_server
from mcp_orchestrator.server.auth.refusals import Refusals
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.shutdown import until_signalled
from mcp_orchestrator.telemetry.metrics_port import Gathered

_log = logging.getLogger(__name__)
#: A process that lived shorter than this waits longer before its next start, in seconds.
_SHORT_LIFE = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
#: How often a worker process looks whether its supervisor is still there, in seconds.
_PARENT_LOOK = 1.0
#: Beyond the grace period, how long a process may take to close before it is killed, in seconds.
_CLOSING = 10.0


def worker(
    *,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes.")] = 1,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", help="Tasks at once in each process.")
    ] = None,
    queues: Annotated[
        str | None,
        typer.Option(
            "--queues", "--types", help="Only tasks of these types; patterns such as a.*,b.*"
        ),
    ] = None,
    data_dir: DataDir = None,
    log_level: LogLevel = None,
    metrics_port: MetricsPort = None,
    parent: Annotated[int | None, typer.Option("--parent", hidden=True)] = None,
    metrics_file: Annotated[Path | None, typer.Option("--metrics-file", hidden=True)] = None,
) -> None:
    """Run queued tasks and sagas without serving any client.

    With --metrics-port, one port shows the metrics of all processes, each labelled with its number.

    SIGTERM or Ctrl-C lets running tasks end or hands them back; a second one does not wait.
    """
    settings = settings_from(
        data_dir=data_dir,
        log_level=log_level,
        metrics_port=metrics_port,
        embedded_worker=True,
        worker_concurrency=concurrency,
        worker_types=None if queues is None else queues.split(","),
    )
    settings = settings.model_copy(update={"grace_seconds": settings.worker_grace_seconds})
    if workers == 1:
        run_until_done(lambda: _work(settings, parent, metrics_file))
        return
    options = {
        "--concurrency": concurrency,
        "--queues": queues,
        "--data-dir": data_dir,
        "--log-level": log_level,
        "--parent": os.getpid(),
    }
    command = [sys.executable, "-m", "mcp_orchestrator", "worker"]
    for name, value in options.items():
        command += [] if value is None else [name, str(value)]
    with TemporaryDirectory(prefix="mcpo-") as folder:
        files = [Path(folder, str(number)) for number in range(workers)]
        commands = [[*command, "--metrics-file", str(file)] for file in files]
        supervisor = Supervisor(commands, settings.grace_seconds + _CLOSING)
        registry = CollectorRegistry()
        registry.register(Gathered(files))
        with metrics_of(registry, settings):
            anyio.run(supervisor.run)


async def _work(settings: Settings, parent: int | None, metrics_file: Path | None) -> None:
    async def stay() -> None:
        while parent is None or os.getppid() == parent:
            await SystemClock().sleep(_PARENT_LOOK)
        _log.warning("The supervisor %d is gone; stopping.", parent)

    everything = {"toolsets": ["all"], "read_only": False}
    async with open_runtime(settings.model_copy(update=everything)) as runtime:
        build_server(runtime, Refusals(runtime.metrics))  # its tools also run as queued tasks
        with metrics_of(runtime.metrics, settings, write_to=metrics_file):
            await until_signalled(stay)


@dataclass
class Supervisor:
    """Keeps a number of processes alive.

    Args:
        commands: what each process runs.
        patience: how long they may take to end when asked to, in seconds.
    """

    commands: Sequence[Sequence[str]]
    patience: float
    _processes: dict[int, Process] = field(default_factory=dict[int, Process])
    _stopping: bool = False

    async def run(self) -> None:
        """Start the processes, and start again those that die, until a signal says to stop."""
        async with anyio.create_task_group() as tasks:
            for number in range(len(self.commands)):
                tasks.start_soon(self._keep, number)
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    if self._stopping:
                        self._signal(signal.SIGKILL)
                    else:
                        self._stopping = True
                        _log.info("Ending; a second signal does not wait.")
                        self._signal(signal.SIGTERM)
                        tasks.start_soon(self._end_within_patience)
                        tasks.start_soon(self._leave_when_ended, tasks.cancel_scope)

    async def _keep(self, number: int) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping:
            began = anyio.current_time()
            # a session of its own, so that Ctrl-C reaches it once, from here
            process = await anyio.open_process(
                self.commands[number], stdin=subprocess.DEVNULL, stdout=None, stderr=None,
                start_new_session=True,
            )  # fmt: skip
            self._processes[number] = process
            if self._stopping:
                process.terminate()
            code = await process.wait()
            del self._processes[number]
            if self._stopping:
                return
            lived = anyio.current_time() - began
            pause = _FIRST_PAUSE if lived > _SHORT_LIFE else min(pause * 2, _LONGEST_PAUSE)
            _log.warning(
                "Worker process %d ended with %d after %.1f s; starting another in %.1f s.",
                process.pid, code, lived, pause,
            )  # fmt: skip
            await anyio.sleep(pause)

    async def _end_within_patience(self) -> None:
        await anyio.sleep(self.patience)
        self._signal(signal.SIGKILL)

    async def _leave_when_ended(self, scope: anyio.CancelScope) -> None:
        for process in list(self._processes.values()):
            await process.wait()
        scope.cancel()

    def _signal(self, number: signal.Signals) -> None:
        for process in list(self._processes.values()):
            if process.returncode is None:
                process.send_signal(number)
