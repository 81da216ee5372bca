"""What the guest sees of the walls around it, and the one it builds for itself."""
# Imports cost the guest its milliseconds: ctypes, signal and shutil are gone round.
# ruff: noqa: PTH110

from __future__ import annotations

import _ctypes
import os
import sys

from mcp_orchestrator.sandbox.guest import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: dlopen() of nothing is the program itself; the type stub does not know.
_THIS_PROGRAM: Any = None
_LARGEST_TEXT = 65536
_SET_DUMPABLE = 4  # prctl's PR_SET_DUMPABLE


def set_inspectable(inspectable: bool) -> None:
    """Open or close this process's memory and descriptors to others of the same user.

    Raises:
        OSError: the kernel refused.
    """
    prctl = _ctypes.dlsym(_ctypes.dlopen(_THIS_PROGRAM, 0), "prctl")
    if _ctypes.call_function(prctl, (_SET_DUMPABLE, int(inspectable), 0, 0, 0)) != 0:
        raise OSError("prctl")


def protect_supervisor() -> None:
    """Keep the program from reading, writing or interrupting the supervisor.

    Both run as one user; a process that is not dumpable hides its ``/proc`` files, and the first
    process of a namespace gets no signal that it does not handle.
    """
    signals.ignore_interrupt()
    set_inspectable(False)


def read_text(path: str) -> str:
    """Return what one read of a small file of the kernel's gives.

    Python's own text files would look for a codec, which takes longer than the reading.

    Raises:
        OSError: it is not there, or not ours.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LARGEST_TEXT).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def _status_fields() -> dict[str, str]:
    pairs = (line.split(":", 1) for line in read_text("/proc/self/status").splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _interfaces() -> list[str]:
    try:
        lines = read_text("/proc/net/dev").splitlines()
        return sorted(line.split(":", 1)[0].strip() for line in lines if ":" in line)
    except FileNotFoundError:
        return []


def observe() -> dict[str, object]:
    """Return the facts from which the host decides which layers hold."""
    status = _status_fields()
    return {
        "python": sys.version.split()[0],
        "process_id": os.getpid(),
        "user_id": os.getuid(),
        "seccomp_mode": int(status.get("Seccomp", "0")),
        "no_new_privileges": status.get("NoNewPrivs") == "1",
        "capabilities": int(status.get("CapEff", "f"), 16) | int(status.get("CapBnd", "f"), 16),
        "interfaces": _interfaces(),
        "root_read_only": _is_read_only("/"),
        "kernel_settings_read_only": _is_read_only("/proc/sys"),
        "languages": [name for name in ("bash", "node") if os.path.exists(f"/usr/bin/{name}")],
    }


#: What the guest can see of its own control group, version 2 first: file, counter, our name.
_GROUP_FILES = (
    ("memory.events", "oom_kill", "oom_kills"),
    ("memory/memory.oom_control", "oom_kill", "oom_kills"),
    ("pids.events", "max", "refused_forks"),
    ("pids/pids.events", "max", "refused_forks"),
    ("memory.peak", "", "peak_memory_bytes"),
    ("memory/memory.max_usage_in_bytes", "", "peak_memory_bytes"),
)


def usage() -> dict[str, int]:
    """Return what this sandbox's control group has met, where it can be seen from inside."""
    found: dict[str, int] = {}
    for name, counter, ours in _GROUP_FILES:
        try:
            words = read_text(f"/sys/fs/cgroup/{name}").split()
        except OSError:
            continue
        if not counter:
            found[ours] = int(words[0])
        elif counter in words:
            found[ours] = int(words[words.index(counter) + 1])
    return found
