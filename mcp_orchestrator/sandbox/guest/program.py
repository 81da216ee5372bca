"""Becoming the program: a fork's descriptors, limits and environment, then its code."""
# Imports cost the guest its milliseconds, pathlib most of all.
# ruff: noqa: PTH108, PTH109, PTH208, PTH118, PTH120, PTH123, T201

from __future__ import annotations

import atexit
import marshal
import os
import resource
import sys

from mcp_orchestrator.sandbox.guest import signals, walls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

REPORT_DESCRIPTOR = 3
ORDERS_DESCRIPTOR = 4
_FIRST_FREE = 5
#: What libraries look at when they are imported: one thread each, and plots without a screen.
PRELOAD_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "Agg", "MPLCONFIGDIR": "/tmp/matplotlib",
    "XDG_CACHE_HOME": "/tmp/cache",
}  # fmt: skip
_COMMANDS = {"bash": "/bin/bash", "node": "node"}


def settle(stdout: int, stderr: int, report: int, orders: int) -> None:
    """Do in a fresh fork of the supervisor what can be done before there is a program.

    Its descriptors are put in their places, everything else is closed.
    """
    os.setsid()
    stdin = os.memfd_create("stdin")
    safe = [os.dup(each) for each in (stdin, stdout, stderr, report, orders)]
    for place, descriptor in enumerate(safe):
        os.dup2(descriptor, place, inheritable=place < REPORT_DESCRIPTOR)
    os.closerange(_FIRST_FREE, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    walls.set_inspectable(True)  # it holds nothing yet, and may write its own /proc files then
    prefer_as_victim()


_REHEARSAL = """
import os, sys
class Thing:
    def method(self, x, *rest, y=1, **more):
        return [f"{each!s:>4} {y:.1f}" for each in (x, *rest)], {x: y, **more}
try:
    Thing().method(1, 2, z=3)
    raise ValueError("rehearsal")
except ValueError as error:
    repr(error)
print(end="", flush=True)
print(end="", file=sys.stderr, flush=True)
"""


def rehearse() -> None:
    """Do once what every program does, so that the pages it touches are this process's already."""
    path, search, arguments, main = "/tmp/rehearsal", sys.path, sys.argv, sys.modules["__main__"]
    with open(path, "w") as file:
        file.write(_REHEARSAL)
    sys.path = search[:]
    run_python(path, [path])
    sys.path, sys.argv, sys.modules["__main__"] = search, arguments, main
    os.unlink(path)
    marshal.loads(marshal.dumps({"rehearsal": [1, "a", b"b", None]}))
    os.environ.update(os.environ)
    resource.getrlimit(resource.RLIMIT_CPU)


def furnish() -> None:
    """Do what ``site`` does for programs, where the interpreter was started without it.

    That spares every worker the start-up files of all installed packages.
    """
    folders = os.environ.pop("SANDBOX_MODULES", "")
    if folders:
        import site  # noqa: PLC0415 - elsewhere it has run by itself

        site.setquit()
        site.setcopyright()
        site.sethelper()
        sys.path += [each for each in folders.split(":") if each not in sys.path]


def preload() -> None:
    """Import ahead what the host named for this profile, as far as it is there."""
    names = os.environ.pop("SANDBOX_PRELOAD", "").split()
    if not names:
        return
    os.environ.update(PRELOAD_ENVIRONMENT)
    for name in names:
        try:
            __import__(name)
        except Exception:  # the program finds out by itself, if it needs the module
            continue


def await_order() -> dict[str, Any]:
    """Wait for the supervisor's order: all of a request but its files."""
    return marshal.loads(_take(int.from_bytes(_take(4), "big")))


def _take(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(ORDERS_DESCRIPTOR, size - len(data))
        if not piece:
            os._exit(0)  # the supervisor has gone
        data += piece
    return data


def take_limits(limits: dict[str, int]) -> None:
    """Set resource limits for good, by the names of ``resource.RLIMIT_*``."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = value + 1 if name == "CPU" else value  # SIGXCPU first, SIGKILL a second later
        most = resource.getrlimit(kind)[1]
        if most == resource.RLIM_INFINITY:
            most = hard
        resource.setrlimit(kind, (min(value, most), min(hard, most)))


def prefer_as_victim() -> None:
    """Let the kernel kill the program, not the supervisor, when memory runs out."""
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"1000")
        os.close(descriptor)
    except OSError:
        return  # the host sees the kill in the control group either way


def become(request: dict[str, Any]) -> None:
    """Turn a settled process into the program's."""
    if "session" not in request:
        os.close(ORDERS_DESCRIPTOR)
        if request["stdin"]:
            with open(0, "wb", closefd=False) as file:
                file.write(request["stdin"])
            os.lseek(0, 0, os.SEEK_SET)
    take_limits(request["resource_limits"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signals.raise_at_interrupt()


def end(body: Callable[[dict[str, Any]], int], request: dict[str, Any]) -> NoReturn:
    """Run a body and end the process as an interpreter ends, short of taking itself apart.

    Waiting for threads, exit functions and flushing are what programs can see; dismantling every
    module would cost more than most programs do.
    """
    try:
        code = body(request)
    except SystemExit as error:
        code = exit_code(error.code)
    save_figures()
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed or replaced by the program
            code = code or 120  # what the interpreter answers then
    os._exit(code)


def save_figures() -> None:
    """Save what was plotted and never saved, since nobody could look at it otherwise."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    try:
        images = (".png", ".jpg", ".svg", ".pdf")
        if any(name.endswith(images) for name in os.listdir()):
            return
        for number in pyplot.get_fignums():
            pyplot.figure(number).savefig(f"figure-{number}.png")
    except Exception as error:  # the program's own library may do anything
        print(f"The figures could not be saved: {error}", file=sys.stderr)


def exit_code(value: object) -> int:
    """Return the exit code that an interpreter makes of ``SystemExit``."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    print(value, file=sys.stderr)
    return 1


def run(request: dict[str, Any]) -> int:
    """Run the program and return its exit code; ``SystemExit`` passes through."""
    arguments: list[str] = [request["main"], *request["arguments"]]
    if request["language"] != "python":
        command = _COMMANDS[request["language"]]
        os.execvp(command, [command, *arguments])
    return run_python(os.path.join(os.getcwd(), request["main"]), arguments)


def run_python(path: str, arguments: list[str]) -> int:
    """Run a file as ``python FILE`` would, in this interpreter."""
    main = type(sys)("__main__")
    main.__dict__.update(__file__=path, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = main
    sys.argv = arguments
    sys.path.insert(0, os.path.dirname(path))
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:  # as the interpreter does for the main program
        show(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception without the guest's own frames."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<mcp_orchestrator"):
        trace = trace.tb_next
    sys.excepthook(kind, error.with_traceback(trace), trace)
