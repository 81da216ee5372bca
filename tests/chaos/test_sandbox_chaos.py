"""What goes wrong in a sandbox ends in the right status, and the next run works."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox import (
    ExecutionRequest,
    ExecutionResult,
    Limits,
    RunStatus,
    Sandbox,
    open_sandbox,
)
from tests.conftest import require
from tests.sandbox_fixtures import FEARLESS
from tests.services.docker_engine import start_docker

MEBIBYTE = 1 << 20
SHORT = replace(Limits(), wall_seconds=1.0)
BUSY = replace(Limits(), cpu_seconds=1.0)
FORBIDDEN = "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)"
LONG = ExecutionRequest(
    "print('up', flush=True); import time; time.sleep(60)", limits=Limits(wall_seconds=60)
)


@pytest.mark.parametrize(
    ("code", "limits", "status", "said"),
    [
        ("print(1 / 0)", Limits(), RunStatus.ERROR, "ZeroDivisionError: division by zero"),
        ("import time; time.sleep(60)", SHORT, RunStatus.TIMEOUT, "longer than 1 s"),
        ("def f(:\n", Limits(), RunStatus.ERROR, "SyntaxError"),
        ("import no_such_module", Limits(), RunStatus.ERROR, "ModuleNotFoundError"),
        (FORBIDDEN, Limits(), RunStatus.FORBIDDEN_SYSCALL, "forbidden"),
        ("x = b'x' * (400 << 20)", Limits(), RunStatus.OUT_OF_MEMORY, "256 MiB"),
        ("while True: pass", BUSY, RunStatus.TIMEOUT, "1 s of processor time"),
    ],
    ids=["zero", "time-out", "syntax", "import", "dangerous", "400 MB", "busy"],
)
async def test_each_fault_has_its_status_and_the_next_run_works(
    sandbox: Sandbox, code: str, limits: Limits, status: RunStatus, said: str
) -> None:
    result = await sandbox.run(ExecutionRequest(code, limits=limits))
    assert (result.status, said in result.reason) == (status, True), result
    assert (await sandbox.run(ExecutionRequest("print('next')"))).stdout == "next\n"


async def test_110_kilobytes_of_output_are_shown_by_head_and_tail(sandbox: Sandbox) -> None:
    code = "print('first'); print('x' * 110_000); print('last')"
    result = await sandbox.run(ExecutionRequest(code))
    assert (result.status, result.stdout_truncated) == (RunStatus.OK, True)
    assert result.stdout.startswith("first\n")
    assert result.stdout.endswith("last\n")
    assert len(result.stdout) < 70_000


async def test_a_dangerous_program_is_refused_by_its_score() -> None:
    sandbox = await open_sandbox("bubblewrap", clock=SystemClock(), warm=0)
    code = "import os, socket, subprocess\nos.system('id')\nexec(input())"
    result = await sandbox.run(ExecutionRequest(code))
    assert result.status is RunStatus.REFUSED
    assert (await sandbox.run(ExecutionRequest("print('next')"))).stdout == "next\n"
    await sandbox.close()


async def test_ten_at_once_and_twenty_in_a_row(sandbox: Sandbox) -> None:
    outputs: list[str] = []

    async def one(number: int) -> None:
        result = await sandbox.run(ExecutionRequest(f"print({number} ** 2)"))
        outputs.append(result.stdout)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(one, number)
    assert sorted(outputs) == sorted(f"{number**2}\n" for number in range(10))
    for number in range(20):
        await one(number)
    assert outputs[10:] == [f"{number**2}\n" for number in range(20)]


class _Watched:
    """A long run, and an event for its first output."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.up = anyio.Event()
        self.result: ExecutionResult | None = None

    async def run(self) -> None:
        self.result = await self._sandbox.run(LONG, listener=lambda _stream, _text: self.up.set())


def launcher_of_this_process() -> set[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        int(each)
        for each in children
        if b"bubblewrap.launcher" in Path(f"/proc/{each}/cmdline").read_bytes()
    }


async def test_a_launcher_killed_mid_run_ends_the_run_and_the_next_one_works() -> None:
    before = launcher_of_this_process()
    sandbox = await open_sandbox("bubblewrap", clock=SystemClock(), risk_policy=FEARLESS)
    watched = _Watched(sandbox)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.run)
            await watched.up.wait()
            for launcher in launcher_of_this_process() - before:
                os.kill(launcher, signal.SIGKILL)
    assert watched.result is not None
    assert watched.result.status is RunStatus.KILLED
    assert (await sandbox.run(ExecutionRequest("print('next')"))).stdout == "next\n"
    await sandbox.close()


async def test_an_engine_killed_mid_run_ends_the_run_and_works_again_after_its_restart(
    service_folder: Path,
) -> None:
    folder = service_folder / "fragile"
    folder.mkdir()
    server = require(lambda: start_docker(folder))
    sandbox = await open_sandbox(
        "docker", docker_host=server.url, clock=SystemClock(), risk_policy=FEARLESS
    )
    watched = _Watched(sandbox)
    try:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watched.run)
                await watched.up.wait()
                server.kill()
        assert watched.result is not None
        assert watched.result.status is RunStatus.KILLED
        with pytest.raises(SandboxUnavailableError, match="Docker"):
            await sandbox.run(ExecutionRequest("print('too early')"))
        server = await anyio.to_thread.run_sync(start_docker, folder)
        assert (await sandbox.run(ExecutionRequest("print('next')"))).stdout == "next\n"
    finally:
        await sandbox.close()
        server.stop()
