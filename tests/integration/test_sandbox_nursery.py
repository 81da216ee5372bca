"""Workers forked from one Python: nothing of one run is in another, and a dead one is replaced."""

import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.sandbox import ExecutionRequest, RunStatus, Sandbox, open_sandbox
from mcp_orchestrator.sandbox.bubblewrap.backend import BubblewrapBackend
from mcp_orchestrator.sandbox.bubblewrap.installation import find_installation
from mcp_orchestrator.sandbox.selftest import selftest
from tests.sandbox_fixtures import FEARLESS


@pytest.fixture
async def cold() -> AsyncIterator[Sandbox]:
    """A sandbox without waiting workers, so that each run's is forked for it."""
    opened = await open_sandbox("bubblewrap", clock=SystemClock(), risk_policy=FEARLESS, warm=0)
    yield opened
    await opened.close()


async def say(sandbox: Sandbox, code: str) -> str:
    result = await sandbox.run(ExecutionRequest(code))
    assert result.status is RunStatus.OK, result
    return result.stdout


def nurseries() -> set[int]:
    """Return the bubblewraps in which guests of this process are forked."""
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"SANDBOX_ENTRY" in words and _parent(_parent(int(folder.name))) == os.getpid():
                found.add(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def _parent(process_id: int) -> int:
    stat = Path(f"/proc/{process_id}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


async def test_workers_are_forked_and_the_status_says_so(cold: Sandbox) -> None:
    assert (await cold.check()).version.endswith("workers forked")


@pytest.mark.parametrize(
    "code",
    [
        "import random; print(random.random())",
        "import uuid; print(uuid.uuid4())",
        "import secrets; print(secrets.token_hex())",
        "import tempfile; print(tempfile.mkdtemp())",
        "print(open('/proc/sys/kernel/random/uuid').read())",
    ],
)
async def test_no_two_runs_draw_the_same(cold: Sandbox, code: str) -> None:
    drawn = {await say(cold, code) for _ in range(5)}
    assert len(drawn) == 5


async def test_nothing_is_handed_from_run_to_run(cold: Sandbox) -> None:
    leave = (
        "import os, sys, builtins, json, socket\n"
        "builtins.left = json.left = sys.left = os.environ['LEFT'] = 'x'\n"
        "for folder in ('/box', '/tmp', '/dev/shm'): open(folder + '/left', 'w').write('x')\n"
        "named = socket.socket(socket.AF_UNIX); named.bind('\\0left'); named.listen()\n"
        "print('left', flush=True)\n"
    )
    look = (
        "import os, sys, builtins, json, socket\n"
        "found = [hasattr(each, 'left') for each in (builtins, json, sys)]\n"
        "found += ['LEFT' in os.environ]\n"
        "found += [os.path.exists(f + '/left') for f in ('/box', '/tmp', '/dev/shm')]\n"
        "found += [socket.socket(socket.AF_UNIX).connect_ex('\\0left') == 0]\n"
        "print(any(found), sorted(int(e) for e in os.listdir('/proc') if e.isdigit()))\n"
    )
    async with anyio.create_task_group() as tasks:  # beside it, and after it

        async def hold() -> None:
            await cold.run(
                ExecutionRequest(leave + "import time; time.sleep(60)\n"),
                listener=lambda _stream, _text: there.set(),
            )

        there = anyio.Event()
        tasks.start_soon(hold)
        await there.wait()
        assert await say(cold, look) == "False [1, 2]\n"
        tasks.cancel_scope.cancel()
    assert await say(cold, leave) == "left\n"
    assert await say(cold, look) == "False [1, 2]\n"


async def test_a_run_can_make_no_namespace_and_has_no_descriptor_of_the_nursery(
    cold: Sandbox,
) -> None:
    code = (
        "import os\n"
        "print(open('/proc/sys/user/max_user_namespaces').read().strip())\n"
        "print(sorted(os.listdir('/proc/self/fd')))\n"
    )
    assert await say(cold, code) == "0\n['0', '1', '2', '3', '4']\n"


async def test_a_killed_nursery_ends_its_runs_and_the_next_one_works(cold: Sandbox) -> None:
    started = anyio.Event()
    statuses: list[RunStatus] = []

    async def run() -> None:
        request = ExecutionRequest("print('up', flush=True); import time; time.sleep(60)")
        request = replace(request, limits=replace(request.limits, wall_seconds=60))
        result = await cold.run(request, listener=lambda _stream, _text: started.set())
        statuses.append(result.status)

    await say(cold, "print(1)")
    killed = nurseries()
    assert killed
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await started.wait()
            for each in killed:
                os.kill(each, signal.SIGKILL)
    assert statuses == [RunStatus.KILLED]
    assert await say(cold, "print('again')") == "again\n"
    assert nurseries().isdisjoint(killed)


@pytest.fixture
async def alone() -> AsyncIterator[Sandbox]:
    """A sandbox whose workers bubblewrap starts, each by itself."""
    opened = await open_sandbox(
        "bubblewrap", clock=SystemClock(), risk_policy=FEARLESS, nursery=False
    )
    yield opened
    await opened.close()


async def test_every_escape_is_held_where_bubblewrap_starts_each_worker(alone: Sandbox) -> None:
    assert (await alone.check()).version.endswith("each worker started")
    outcomes = [outcome async for outcome in selftest(alone)]
    assert [each.attempt.name for each in outcomes if not each.held] == []


async def test_where_no_namespaces_can_be_nested_bubblewrap_starts_each_worker(
    service_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bwrap that forbids them inside stands for AppArmor and its like, which do."""
    folder = service_folder / "strict"
    installation = find_installation()
    package = Path(installation.bwrap).parents[1]
    for each in (package, package.with_name(f"{package.name}.libs")):
        if each.is_dir():
            shutil.copytree(each, folder / each.name)
    real = folder / package.name / "_bin" / "bwrap"
    strict = real.with_name("strict-bwrap")
    strict.write_text(
        f'#!/bin/sh\ncase "$*" in *SANDBOX_ENTRY*) set -- --disable-userns "$@";; esac\n'
        f'exec {real} "$@"\n'
    )
    strict.chmod(0o755)
    backend = await BubblewrapBackend.open(replace(installation, bwrap=str(strict)))
    sandbox = Sandbox(backend, clock=SystemClock(), risk_policy=FEARLESS)
    try:
        assert await say(sandbox, "print(1)") == "1\n"
        assert (await sandbox.check()).version.endswith("each worker started")
        assert "no guests can be forked: nursery: OSError" in caplog.text
    finally:
        await sandbox.close()
