"""bubblewrap's own traps, each met once in practice, and what it must leave behind: nothing."""

# They look at /proc and wait for processes that have no event to offer.
# ruff: noqa: ASYNC110, ASYNC240

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.sandbox import (
    ExecutionRequest,
    ExecutionResult,
    Limits,
    RunStatus,
    Sandbox,
    TestRequest,
    open_sandbox,
)
from mcp_orchestrator.sandbox.bubblewrap.backend import BubblewrapBackend
from mcp_orchestrator.sandbox.bubblewrap.installation import find_installation
from mcp_orchestrator.sandbox.bubblewrap.staging import is_reachable
from tests.sandbox_fixtures import FEARLESS

PROJECT = Path(__file__).parents[2]


async def run(sandbox: Sandbox, code: str) -> ExecutionResult:
    return await sandbox.run(ExecutionRequest(code))


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.01)


def sandbox_processes(marker: str) -> list[int]:
    """Return the processes on this machine whose command line holds a marker."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def group_owners() -> set[str]:
    """Return the process ids of the launchers that own a control group now."""
    folders = (name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    return {name.split("-")[1] for name in folders if name.startswith("mcpo-")}


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def launchers() -> set[int]:
    """Return the launchers that this process has started and not ended."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(each) for each in children} & set(sandbox_processes("bubblewrap.launcher"))


async def test_trap_1_kernel_settings_cannot_be_written(bubblewrap: Sandbox) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    code = (
        "for name in ('kernel/core_pattern', 'kernel/hostname', 'vm/overcommit_memory'):\n"
        "    try:\n        open('/proc/sys/' + name, 'w').write('|/bin/evil')\n"
        "    except OSError as error: print(error.errno)\n"
        "    else: print('written')\n"
    )
    result = await run(bubblewrap, code)
    assert "written" not in result.stdout
    assert len(result.stdout.splitlines()) == 3
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


async def test_trap_1_to_the_host_nothing_inside_is_root(bubblewrap: Sandbox) -> None:
    marker = f"marker-{os.getpid()}-user"
    command = f"[sys.executable, '-c', 'import time; time.sleep(60)', '{marker}']"
    code = f"import subprocess, sys; subprocess.run({command})"
    users: set[int] = set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, bubblewrap, code)
        await until(lambda: bool(sandbox_processes(marker)))
        users = {Path(f"/proc/{each}").stat().st_uid for each in sandbox_processes(marker)}
        tasks.cancel_scope.cancel()
    assert users
    assert 0 not in users


async def test_trap_2_no_environment_of_the_server_is_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PERPLEXITY_API_KEY", "sk-very-secret")
    sandbox = await open_sandbox("bubblewrap", clock=SystemClock(), risk_policy=FEARLESS)
    code = (
        "import glob, os\n"
        "seen = repr(dict(os.environ))\n"
        "for path in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try: seen += repr(open(path, 'rb').read())\n"
        "    except OSError as error: seen += repr(error)\n"
        "print(seen)\n"
    )
    try:
        result = await run(sandbox, code)
    finally:
        await sandbox.close()
    assert result.status is RunStatus.OK
    assert "secret" not in result.stdout
    assert "API_KEY" not in result.stdout


async def test_trap_3_no_socket_family_but_unix(bubblewrap: Sandbox) -> None:
    code = (
        "import socket\n"
        "open_ = []\n"
        "for family in range(1, 46):\n"
        "    try: socket.socket(family, socket.SOCK_DGRAM); open_.append(family)\n"
        "    except OSError: pass\n"
        "print(open_)\n"
    )
    assert (await run(bubblewrap, code)).stdout == "[1]\n"


@pytest.mark.parametrize(
    ("call", "ending"),
    [
        ("ptrace", "killed"), ("process_vm_readv", "killed"), ("userfaultfd", "killed"),
        ("keyctl", "killed"), ("bpf", "killed"), ("name_to_handle_at", "killed"),
        ("personality", "killed"), ("unshare", "killed"), ("mount", "killed"),
        ("perf_event_open", "killed"), ("io_uring_setup", "refused"), ("modify_ldt", "refused"),
        ("clone3", "refused"), ("memfd_secret", "refused"), ("pidfd_getfd", "refused"),
    ],
)  # fmt: skip
async def test_trap_4_dangerous_calls_are_closed(
    bubblewrap: Sandbox, call: str, ending: str
) -> None:
    numbers = {
        "ptrace": 101, "process_vm_readv": 310, "userfaultfd": 323, "keyctl": 250, "bpf": 321,
        "name_to_handle_at": 303, "personality": 135, "unshare": 272, "mount": 165,
        "perf_event_open": 298, "io_uring_setup": 425, "modify_ldt": 154, "clone3": 435,
        "memfd_secret": 447, "pidfd_getfd": 438,
    }  # fmt: skip
    code = f"import ctypes; print(ctypes.CDLL(None).syscall({numbers[call]}, 0, 0, 0, 0, 0))"
    result = await run(bubblewrap, code)
    if ending == "killed":
        assert result.status is RunStatus.FORBIDDEN_SYSCALL
    else:
        assert result.stdout == "-1\n"


async def test_trap_4_the_32_bit_door_is_closed(bubblewrap: Sandbox) -> None:
    code = (  # mov eax, 20 (getpid of i386); int 0x80; ret
        "import ctypes, mmap\n"
        "page = mmap.mmap(-1, 4096, prot=7)\n"
        "page.write(bytes.fromhex('b814000000cd80c3'))\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
        "print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())\n"
    )
    result = await run(bubblewrap, code)
    assert result.status in {RunStatus.FORBIDDEN_SYSCALL, RunStatus.KILLED}
    assert result.stdout == ""


async def test_trap_5_the_number_of_processes_is_held_for_root_too(bubblewrap: Sandbox) -> None:
    code = (
        "import os, time\nmade = 0\n"
        "try:\n"
        "    while made < 1000:\n"
        "        if os.fork() == 0: time.sleep(5); os._exit(0)\n"
        "        made += 1\n"
        "except OSError: pass\n"
        "print(made)\n"
    )
    assert int((await run(bubblewrap, code)).stdout) <= Limits().processes


async def test_trap_6_and_nothing_is_left_behind() -> None:
    before = launchers()
    sandbox = await open_sandbox("bubblewrap", clock=SystemClock(), risk_policy=FEARLESS)
    await run(sandbox, "print(1)")
    ours = {str(each) for each in launchers() - before}
    assert len(ours) == 1
    descriptors = open_descriptors()
    for _ in range(60):
        await run(sandbox, "import os\nif os.fork() == 0: os.setsid()\n")
    assert open_descriptors() == descriptors
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    states = [Path(f"/proc/{child}/stat").read_text().split()[2] for child in children]
    assert "Z" not in states
    await sandbox.close()
    assert launchers() == before
    assert group_owners().isdisjoint(ours)


async def test_trap_7_where_namespaces_are_forbidden_it_refuses_with_the_remedy() -> None:
    """A user namespace that may have no children stands for a machine that forbids them."""
    program = (
        "import anyio\n"
        "from mcp_orchestrator.clock import SystemClock\n"
        "from mcp_orchestrator.sandbox import open_sandbox\n"
        "from mcp_orchestrator.errors import SandboxUnavailableError\n"
        "async def main():\n"
        "    try: await open_sandbox('bubblewrap', clock=SystemClock())\n"
        "    except SandboxUnavailableError as error: print(error)\n"
        "anyio.run(main)\n"
    )
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" -c "$1"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, sys.executable, program]
    done = await anyio.run_process(command, check=False, cwd=PROJECT)
    text = done.stdout.decode() + done.stderr.decode()
    assert "bubblewrap cannot isolate here" in text
    assert "apparmor_restrict_unprivileged_userns" in text


async def test_cancelling_kills_everything_within_a_second(bubblewrap: Sandbox) -> None:
    marker = f"marker-{os.getpid()}-cancel"
    code = (
        "import subprocess, sys, time, os\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '{marker}'],\n"
        "                 start_new_session=True)\n"
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)\n"
    )
    request = ExecutionRequest(code, limits=replace(Limits(), wall_seconds=60))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bubblewrap.run, request)
        await until(lambda: bool(sandbox_processes(marker)))
        tasks.cancel_scope.cancel()
    await until(lambda: not sandbox_processes(marker), 1)


async def test_a_server_killed_outright_leaves_nothing_behind() -> None:
    marker = f"marker-{os.getpid()}-kill"
    program = (
        "import anyio\n"
        "from mcp_orchestrator.clock import SystemClock\n"
        "from mcp_orchestrator.sandbox import ExecutionRequest, Limits, open_sandbox\n"
        "async def main():\n"
        "    sandbox = await open_sandbox('bubblewrap', clock=SystemClock())\n"
        "    code = 'import subprocess, sys, time; subprocess.Popen([sys.executable, \"-c\", '\n"
        f'    code += \'"import time; time.sleep(60)", "{marker}"]); time.sleep(60)\'\n'
        "    request = ExecutionRequest(code, limits=Limits(wall_seconds=60), allow_risky=True)\n"
        "    await sandbox.run(request)\n"
        "anyio.run(main)\n"
    )
    inner = [sys.executable, "-c", program]
    server = subprocess.Popen(inner, cwd=PROJECT)
    try:
        await until(lambda: len(sandbox_processes(marker)) > 1, 15)
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    await until(lambda: not sandbox_processes(marker), 2)
    await until(lambda: all(Path(f"/proc/{owner}").exists() for owner in group_owners()), 2)


async def test_a_killed_launcher_is_started_again(bubblewrap: Sandbox) -> None:
    killed = launchers()
    for launcher in killed:
        os.kill(launcher, signal.SIGKILL)
    with anyio.fail_after(10):
        while not set(launchers()).isdisjoint(killed):
            await anyio.sleep(0.01)
    result = await run(bubblewrap, "print('again')")
    assert result.stdout == "again\n"


async def test_where_the_system_has_no_python_the_servers_own_is_bound() -> None:
    """It may lie under a home that only root may enter, and is staged then."""
    backend = await BubblewrapBackend.open(find_installation("/nonexistent/python3"))
    sandbox = Sandbox(backend, clock=SystemClock(), risk_policy=FEARLESS)
    try:
        result = await run(
            sandbox, "import sys, sqlite3; print(sys.prefix); open(sys.prefix + '/x', 'w')"
        )
        assert result.stdout.strip() == str(Path(sys.base_prefix).resolve())
        assert "Read-only file system" in result.stderr
        report = await sandbox.run_tests(
            TestRequest("x = 1", "import pytest\ndef test_it(tmp_path):\n    assert x == 1\n")
        )
        assert report.all_passed, report
    finally:
        await sandbox.close()


async def test_no_more_runs_at_once_than_allowed() -> None:
    sandbox = await open_sandbox("bubblewrap", clock=SystemClock(), concurrency=2)
    began: list[float] = []
    ended: list[float] = []

    async def one() -> None:
        result = await run(
            sandbox,
            "import time; print(time.monotonic()); time.sleep(0.1)\nprint(time.monotonic())",
        )
        first, last = result.stdout.split()
        began.append(float(first))
        ended.append(float(last))

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(one)
    await sandbox.close()
    for moment in began:
        assert sum(a <= moment < b for a, b in zip(began, ended, strict=True)) <= 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_an_ordinary_user_needs_nothing_more() -> None:
    program = (
        "import anyio, os\n"
        "from mcp_orchestrator.clock import SystemClock\n"
        "from mcp_orchestrator.sandbox import ExecutionRequest, TestRequest, open_sandbox\n"
        "async def main():\n"
        "    sandbox = await open_sandbox('bubblewrap', clock=SystemClock())\n"
        "    for code in ('print(os.getuid())', 'bytearray(900 << 20)',\n"
        "                 'while True: os.fork()'):\n"
        "        request = ExecutionRequest('import os\\n' + code, allow_risky=True)\n"
        "        result = await sandbox.run(request)\n"
        "        print(result.status.value, result.stdout.strip(), result.layers)\n"
        "    request = TestRequest('def f(): return 1', 'assert f() == 1')\n"
        "    report = await sandbox.run_tests(request)\n"
        "    print(report.all_passed)\n"
        "    await sandbox.close()\n"
        "print(os.getuid()); anyio.run(main)\n"
    )
    unprivileged = 64321
    done = await anyio.to_thread.run_sync(
        lambda: _run_as(unprivileged, program), abandon_on_cancel=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == str(unprivileged)
    assert lines[1].startswith("ok 65534")
    assert lines[2].startswith("out_of_memory")
    assert "by-rlimit" in lines[2]
    assert lines[3].startswith("too_many_processes")
    assert lines[4] == "True"


def _run_as(user: int, program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program as an ordinary user.

    The interpreter and the project may be under root's own home. A mount namespace of its own then
    has another home there, which everybody may enter, with just these folders in it.
    """
    needed = {Path(sys.base_prefix).resolve(), PROJECT}
    hidden = [path for path in needed if not is_reachable(str(path))]
    lines = ["set -e", "mount -t tmpfs none /mnt"]
    for number, path in enumerate(hidden):
        lines += [f"mkdir /mnt/{number}", f"mount --bind {path} /mnt/{number}"]
    for top in {path.parts[1] for path in hidden}:
        lines += [f"mount -t tmpfs -o mode=755 none /{top}"]
    for number, path in enumerate(hidden):
        lines += [f"mkdir -p {path}", f"mount --bind /mnt/{number} {path}"]
    become = f"setpriv --reuid={user} --regid={user} --clear-groups"
    script = "; ".join([*lines, f'exec {become} "$0" -c "$1"'])
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, program],
        check=False, capture_output=True, text=True, cwd=PROJECT, timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
