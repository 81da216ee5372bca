"""What a process does to itself to become a sandbox: namespaces, mounts, no privileges, the filter.

It starts inside a bubblewrap sandbox already, so none of this reaches the host: what is mounted is
read-only, there is no network, and outside of its own user namespace it never had a privilege.
"""

from __future__ import annotations

import ctypes
import os

from mcp_orchestrator.sandbox.guest import walls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

#: Cgroup, UTS, IPC, user, process ids, network and mounts: CLONE_NEW…
_NAMESPACES = (
    0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000
    | 0x2000_0000 | 0x4000_0000 | 0x0002_0000
)  # fmt: skip
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _NO_PROGRAMS, _REMOUNT, _BIND = 1, 2, 4, 8, 32, 4096
_DROP_CAPABILITY, _NO_NEW_PRIVILEGES, _SET_SECCOMP = 24, 38, 22
_SECCOMP_FILTER = 2
_CAPABILITY_VERSION = 0x2008_0522
_INSTRUCTION_BYTES = 8
_SHARED_MEMORY_BYTES = 64 * 1024 * 1024


class _Program(ctypes.Structure):
    """The kernel's ``sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class Isolation:
    """What every sandbox of one nursery has in common.

    Args:
        system_call_filter: the compiled filter.
    """

    def __init__(self, system_call_filter: bytes) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._filter = system_call_filter
        self._program = _Program(len(self._filter) // _INSTRUCTION_BYTES, self._filter)
        self._identity = [(each, f"{own} {own} 1") for each, own in (
            ("uid_map", os.getuid()), ("gid_map", os.getgid()),
        )]  # fmt: skip
        self._capabilities = int(walls.read_text("/proc/sys/kernel/cap_last_cap")) + 1

    def enter_namespaces(self, inside: Callable[[], NoReturn]) -> NoReturn:
        """Leave every namespace behind, and go on in a child, the first process of its own tree.

        Args:
            inside: what the child does.

        Raises:
            OSError: the kernel refused.
        """
        self._do("unshare", _NAMESPACES)
        _write("/proc/self/setgroups", "deny")
        for name, line in self._identity:
            _write(f"/proc/self/{name}", line)
        if os.fork() == 0:
            inside()
        os._exit(0)

    def build_walls(self, disk_bytes: int) -> None:
        """Mount what is this sandbox's own, then give up every privilege for good.

        Raises:
            OSError: the kernel refused, and nothing may run.
        """
        private = _NO_SETUID | _NO_DEVICES
        self._mount("proc", "/proc", "proc", private | _NO_PROGRAMS)
        _write("/proc/sys/user/max_user_namespaces", "0")
        self._do("mount", b"/proc/sys", b"/proc/sys", None, _BIND, None)
        fixed = _BIND | _REMOUNT | _READ_ONLY | private | _NO_PROGRAMS
        self._do("mount", None, b"/proc/sys", None, fixed, None)
        shared = min(disk_bytes, _SHARED_MEMORY_BYTES)
        for folder, mode, size in (
            ("/dev/shm", "1777", shared), ("/tmp", "1777", disk_bytes), ("/box", "755", disk_bytes),
        ):  # fmt: skip
            self._mount("tmpfs", folder, "tmpfs", private, f"mode={mode},size={size}")
        self._mount("devpts", "/dev/pts", "devpts", _NO_SETUID | _NO_PROGRAMS, "ptmxmode=0666")
        os.setsid()
        for capability in range(self._capabilities):
            self._do("prctl", _DROP_CAPABILITY, capability, 0, 0, 0)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        self._do("capset", header, (ctypes.c_uint32 * 6)())
        self._do("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        self._do("prctl", _SET_SECCOMP, _SECCOMP_FILTER, ctypes.byref(self._program))

    def _mount(self, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        self._do("mount", *(each.encode() for each in (source, target, kind)), flags,
                 options.encode())  # fmt: skip

    def _do(self, name: str, *arguments: object) -> None:
        if getattr(self._libc, name)(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
