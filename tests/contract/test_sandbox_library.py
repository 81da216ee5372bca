"""What programs use of Python works under the filter, and the policy names all of it."""

import json
import sys
from pathlib import Path

import pytest

from mcp_orchestrator.errors import NotFoundError, SandboxUnavailableError
from mcp_orchestrator.sandbox import ExecutionRequest, Limits, RunStatus, Sandbox
from mcp_orchestrator.sandbox.seccomp.derivation import calls_in, compare, derive, workload_path
from tests.conftest import require
from tests.services.process import find_program

LIMITS = Limits(wall_seconds=60, cpu_seconds=60, memory_bytes=512 << 20)
#: Asked for and done without: C libraries go back to an older call when these do not exist.
FALLEN_BACK_FROM = {"clone3", "mbind", "get_mempolicy", "set_mempolicy"}


async def test_files_processes_threads_signals_sockets_and_loops_work(sandbox: Sandbox) -> None:
    request = ExecutionRequest(workload_path().read_text(), limits=LIMITS)
    result = await sandbox.run(request)
    assert result.status is RunStatus.OK, result
    lines = result.stdout.splitlines()
    assert [line for line in lines if not line.endswith(": works")][1:] == []
    assert len(lines) == 9


async def test_every_module_of_the_standard_library_can_be_imported(sandbox: Sandbox) -> None:
    code = (
        "import importlib, json, sys\n"
        "names = {'antigravity', 'this', 'idlelib', 'turtledemo', 'lib2to3', 'tkinter'}\n"
        "bad = {}\n"
        "for name in sorted(set(sys.stdlib_module_names) - names):\n"
        "    try: importlib.import_module(name)\n"
        "    except ModuleNotFoundError: pass  # of another system, or left out by Debian\n"
        "    except BaseException as e: bad[name] = repr(e)\n"
        "print(json.dumps([len(sys.modules), bad]))\n"
    )
    result = await sandbox.run(ExecutionRequest(code, limits=LIMITS))
    count, bad = json.loads(result.stdout.splitlines()[-1])
    assert count > 250
    assert {name: why for name, why in bad.items() if "ImportError" not in why} == {}, bad


def test_the_policy_can_be_derived_again() -> None:
    require(lambda: find_program("strace"))
    derived = derive(workload_path(), Path(sys.executable))
    assert {"openat", "execve", "epoll_wait", "socketpair", "futex"} <= derived.used
    assert set(derived.refused) <= FALLEN_BACK_FROM, derived.refused


def test_what_is_forbidden_is_named_with_what_would_happen(tmp_path: Path) -> None:
    require(lambda: find_program("strace"))
    program = tmp_path / "program.py"
    program.write_text("import ctypes; ctypes.CDLL(None).unshare(0x10000000)")
    assert derive(program, Path(sys.executable)).refused["unshare"] == "killed"


def test_a_missing_or_failing_program_is_said(tmp_path: Path) -> None:
    require(lambda: find_program("strace"))
    with pytest.raises(NotFoundError):
        derive(tmp_path / "none.py", Path(sys.executable))
    (tmp_path / "bad.py").write_text("raise SystemExit('no luck')")
    with pytest.raises(SandboxUnavailableError, match="no luck"):
        derive(tmp_path / "bad.py", Path(sys.executable))


def test_a_trace_is_read_line_by_line() -> None:
    trace = (
        '12 openat(AT_FDCWD, "x") = 3\n12 <... read resumed>"", 9) = 0\n'
        '13 write(1, "mount(2)", 8) = 8\n13 +++ exited with 0 +++\n[pid 14] bpf(0) = -1\n'
    )
    assert calls_in(trace) == {"openat", "write", "bpf"}
    refused = compare(frozenset({"openat", "socket", "bpf", "mknod", "clone3", "acct"})).refused
    assert refused == {"bpf": "killed", "mknod": "refused", "clone3": "absent", "acct": "unnamed"}
