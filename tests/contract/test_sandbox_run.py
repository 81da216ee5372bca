"""What running a program promises, whatever isolates it."""

# A program is a line here, however long.
# ruff: noqa: E501

from dataclasses import replace

import anyio
import pytest

from mcp_orchestrator.errors import InvalidInputError, LimitExceededError
from mcp_orchestrator.sandbox import ExecutionRequest, ExecutionResult, Limits, RunStatus, Sandbox

WALLS = {
    "no-network", "read-only-root", "read-only-kernel-settings", "no-capabilities",
    "unprivileged-user", "no-new-privileges", "system-call-filter", "own-process-tree",
}  # fmt: skip


async def run(sandbox: Sandbox, code: str, **limits: float) -> ExecutionResult:
    chosen = replace(Limits(), **limits)
    return await sandbox.run(ExecutionRequest(code, limits=chosen))


async def test_a_program_gets_its_input_and_gives_its_output(sandbox: Sandbox) -> None:
    code = (
        "import os, sys\n"
        "print(sys.stdin.read(), sys.argv, os.environ['COLOUR'])\n"
        "print(open('data/in.bin', 'rb').read())\n"
        "print('aside', file=sys.stderr)\n"
    )
    result = await sandbox.run(
        ExecutionRequest(
            code,
            stdin="grüße",
            arguments=("--fast", "x y"),
            environment={"COLOUR": "blue"},
            files={"data/in.bin": b"\x00\xff"},
        )
    )
    assert result.stdout == "grüße ['main.py', '--fast', 'x y'] blue\nb'\\x00\\xff'\n"
    assert result.stderr == "aside\n"
    assert (result.status, result.exit_code) == (RunStatus.OK, 0)
    assert result.backend == sandbox.backend_name
    assert set(result.layers) >= WALLS
    assert result.cpu_seconds is not None
    assert result.peak_memory_bytes is not None
    assert not result.stdout_truncated


async def test_an_exception_is_shown_with_the_programs_own_frames_only(sandbox: Sandbox) -> None:
    result = await run(sandbox, "def divide():\n    return 1 / 0\n\ndivide()\n")
    assert (result.status, result.exit_code) == (RunStatus.ERROR, 1)
    assert result.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert result.stderr.count("File ") == 2
    assert 'File "/box/main.py", line 2, in divide' in result.stderr
    assert "ZeroDivisionError" in result.reason


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [
        ("def f(:\n", RunStatus.ERROR, 1),
        ("import no_such_module", RunStatus.ERROR, 1),
        ("import sys; sys.exit(7)", RunStatus.ERROR, 7),
        ("import sys; sys.exit('bye')", RunStatus.ERROR, 1),
        ("raise SystemExit", RunStatus.OK, 0),
        ("import os; os._exit(3)", RunStatus.ERROR, 3),
        ("raise KeyboardInterrupt", RunStatus.ERROR, 130),
        ("import os; os.abort()", RunStatus.KILLED, None),
        ("import os; os.kill(os.getpid(), 9)", RunStatus.KILLED, None),
    ],
)
async def test_an_ending_is_named(
    sandbox: Sandbox, code: str, status: RunStatus, exit_code: int | None
) -> None:
    result = await run(sandbox, code)
    assert (result.status, result.exit_code) == (status, exit_code), result
    assert result.reason


@pytest.mark.parametrize(
    ("code", "limits", "status"),
    [
        ("while True: pass", {"wall_seconds": 0.3}, RunStatus.TIMEOUT),
        ("import time; time.sleep(60)", {"wall_seconds": 0.3}, RunStatus.TIMEOUT),
        ("while True: pass", {"cpu_seconds": 1}, RunStatus.TIMEOUT),
        ("x = bytearray(400 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1", {},
         RunStatus.OUT_OF_MEMORY),
        ("import os\nfor _ in range(500): os.fork() or __import__('time').sleep(2)", {},
         RunStatus.TOO_MANY_PROCESSES),
        ("import threading, time\n"
         "for _ in range(500): threading.Thread(target=time.sleep, args=(1,)).start()", {},
         RunStatus.TOO_MANY_PROCESSES),
        ("f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20))", {}, RunStatus.DISK_FULL),
        ("for i in range(99): open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))", {},
         RunStatus.DISK_FULL),
        ("import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)", {}, RunStatus.FORBIDDEN_SYSCALL),
    ],
)  # fmt: skip
async def test_a_limit_is_held_and_named(
    sandbox: Sandbox, code: str, limits: dict[str, float], status: RunStatus
) -> None:
    result = await run(sandbox, code, **limits)
    assert result.status == status, result
    after = await run(sandbox, "print('still here')")
    assert after.stdout == "still here\n"


async def test_output_keeps_its_head_and_its_tail(sandbox: Sandbox) -> None:
    result = await run(sandbox, "for i in range(30_000): print(i)", output_bytes=2048)
    assert result.stdout_truncated
    assert result.stdout.startswith("0\n1\n2\n")
    assert result.stdout.endswith("29998\n29999\n")
    assert "bytes left out" in result.stdout
    assert len(result.stdout) < 2200
    assert result.status is RunStatus.OK


async def test_output_without_end_neither_fills_memory_nor_time(sandbox: Sandbox) -> None:
    result = await run(sandbox, "while True: print('x' * 10_000)", wall_seconds=0.5)
    assert result.status is RunStatus.TIMEOUT
    assert len(result.stdout) < 70_000


async def test_output_is_heard_while_the_program_runs(sandbox: Sandbox) -> None:
    heard: list[tuple[str, str]] = []
    first = anyio.Event()

    def listen(stream: str, text: str) -> None:
        heard.append((stream, text))
        first.set()

    async with anyio.create_task_group() as tasks:
        code = "import time; print('early', flush=True); time.sleep(60)"
        request = ExecutionRequest(code, limits=replace(Limits(), wall_seconds=60))

        async def start() -> None:
            await sandbox.run(request, listener=listen)

        tasks.start_soon(start)
        with anyio.fail_after(10):
            await first.wait()
        tasks.cancel_scope.cancel()
    assert heard == [("stdout", "early\n")]


async def test_threads_exit_functions_and_buffers_end_as_in_an_interpreter(
    sandbox: Sandbox,
) -> None:
    code = (
        "import atexit, threading, time\n"
        "atexit.register(print, 'exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
        "print('main', end=' ')\n"
    )
    result = await run(sandbox, code)
    assert result.stdout == "main thread\nexit\n"


async def test_a_daemon_left_behind_does_not_hold_the_run(sandbox: Sandbox) -> None:
    code = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\nprint('done')\n"
    )
    with anyio.fail_after(5):
        result = await run(sandbox, code)
    assert (result.status, result.stdout) == (RunStatus.OK, "done\n")


async def test_every_run_starts_from_nothing(sandbox: Sandbox) -> None:
    await run(sandbox, "open('/box/left', 'w').write('x'); open('/tmp/left', 'w').write('x')")
    result = await run(sandbox, "import os; print(os.listdir('/box'), os.listdir('/tmp'))")
    assert result.stdout == "['main.py'] []\n"


async def test_ten_at_once_and_twenty_in_a_row(sandbox: Sandbox) -> None:
    results: list[ExecutionResult] = []

    async def one(number: int) -> None:
        results.append(await run(sandbox, f"print({number})"))

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(one, number)
    for number in range(10, 30):
        await one(number)
    assert sorted(int(result.stdout) for result in results) == list(range(30))


@pytest.mark.parametrize(
    "request_",
    [
        ExecutionRequest("", language="cobol"),
        ExecutionRequest("", files={"../x": ""}),
        ExecutionRequest("", files={"/etc/x": ""}),
        ExecutionRequest("", files={"a/../../x": ""}),
        ExecutionRequest("", arguments=("a\0b",)),
        ExecutionRequest("", environment={"A=B": "x"}),
        ExecutionRequest("", limits=replace(Limits(), wall_seconds=-1)),
    ],
)
async def test_a_bad_request_is_refused_before_anything_starts(
    sandbox: Sandbox, request_: ExecutionRequest
) -> None:
    with pytest.raises(InvalidInputError):
        await sandbox.run(request_)


async def test_code_over_its_size_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(LimitExceededError):
        await sandbox.run(ExecutionRequest("#" * 2_000_000))


async def test_bash_runs_where_the_sandbox_has_it(sandbox: Sandbox) -> None:
    result = await sandbox.run(ExecutionRequest("echo $((6 * 7)); cat", "bash", stdin="in"))
    assert result.stdout == "42\nin"


STANDARD_LIBRARY = {
    "asyncio and its subprocesses": (
        "import asyncio\n"
        "async def main():\n"
        "    p = await asyncio.create_subprocess_exec('echo', 'ok', stdout=-1)\n"
        "    print((await p.communicate())[0].decode().strip())\n"
        "asyncio.run(main())"
    ),
    "subprocess": "import subprocess; print(subprocess.check_output(['echo', 'ok'], text=True))",
    "multiprocessing": (
        "import multiprocessing as m\n"
        "with m.get_context('fork').Pool(2) as p: print('ok' if p.map(abs, [-1]) == [1] else 0)"
    ),
    "shared memory": (
        "from multiprocessing.shared_memory import SharedMemory\n"
        "s = SharedMemory(create=True, size=64); s.buf[0] = 1; s.close(); s.unlink(); print('ok')"
    ),
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor as T\n"
        "with T(8) as t: print('ok' if sum(t.map(int, range(9))) == 36 else 0)"
    ),
    "sqlite": (
        "import sqlite3\nwith sqlite3.connect('d.db') as d:\n"
        "    d.execute('create table t (a)'); d.execute('insert into t values (1)'); print('ok')"
    ),
    "temporary files": "import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x'); print('ok')",
    "memory maps": "import mmap; m = mmap.mmap(-1, 4096); m[0] = 1; print('ok')",
    "socket pairs": "import socket; a, b = socket.socketpair(); a.send(b'ok'); print(b.recv(2).decode())",
    "alarms": (
        "import signal, time\nsignal.signal(signal.SIGALRM, lambda *_: print('ok'))\n"
        "signal.setitimer(signal.ITIMER_REAL, .01); time.sleep(.05)"
    ),
    "pseudo-terminals": "import os, pty; m, s = pty.openpty(); os.write(s, b'ok'); print('ok')",
    "archives": (
        "import io, zipfile\nz = zipfile.ZipFile(io.BytesIO(), 'w'); z.writestr('a', 'b'); print('ok')"
    ),
    "secrets and clocks": "import secrets, time, os; secrets.token_hex(); time.time(); print('ok')",
    "file locks and attributes": (
        "import fcntl, os\nf = open('x', 'w'); fcntl.flock(f, fcntl.LOCK_EX); os.utime('x'); print('ok')"
    ),
}


@pytest.mark.parametrize("code", STANDARD_LIBRARY.values(), ids=STANDARD_LIBRARY)
async def test_the_standard_library_works_behind_the_filter(sandbox: Sandbox, code: str) -> None:
    result = await run(sandbox, code)
    assert result.stdout.strip() == "ok", result
    assert result.status is RunStatus.OK
