"""bubblewrap's form of the policy: a BPF program compiled by libseccomp."""

import errno
import os
from importlib import import_module
from typing import Protocol, cast

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.seccomp.policy import SyscallPolicy

_BAD_ARCHITECTURE = 2  # libseccomp's SCMP_FLTATR_ACT_BADARCH


class _Filter(Protocol):
    def add_rule(self, action: int, syscall: str, *arguments: object) -> None: ...
    def set_attr(self, attribute: int, value: int) -> None: ...
    def export_bpf(self, file: object) -> None: ...


class _Library(Protocol):
    ALLOW: int
    KILL_PROCESS: int
    EQ: int
    MASKED_EQ: int

    def ERRNO(self, number: int) -> int: ...  # noqa: N802
    def Arg(self, index: int, comparison: int, first: int, second: int = 0) -> object: ...  # noqa: N802
    def SyscallFilter(self, default: int) -> _Filter: ...  # noqa: N802


def compile_filter(policy: SyscallPolicy) -> bytes:
    """Compile the policy for this machine's processor.

    Calls of a foreign architecture (i386's ``int 0x80``, x32) kill the process.

    Raises:
        SandboxUnavailableError: libseccomp is not installed.
    """
    try:
        library = cast("_Library", import_module("pyseccomp"))
    except (ImportError, OSError, RuntimeError) as error:
        raise SandboxUnavailableError(
            "libseccomp is not installed, so no system-call filter can be made.",
            remedy="Install it: `apt-get install libseccomp2`, or your system's package of it.",
        ) from error
    rules = library.SyscallFilter(library.ERRNO(errno.ENOSYS))  # which is what `absent` asks for
    rules.set_attr(_BAD_ARCHITECTURE, library.KILL_PROCESS)
    for names, action in (
        (policy.allowed, library.ALLOW),
        (policy.killed, library.KILL_PROCESS),
        (policy.refused, library.ERRNO(errno.EPERM)),
    ):
        for name in names:
            _add(rules, action, name)
    _add_conditions(rules, library, policy)
    return _export(rules)


def _add(rules: _Filter, action: int, name: str, *conditions: object) -> None:
    try:
        rules.add_rule(action, name, *conditions)
    except (OSError, ValueError, RuntimeError) as error:
        if getattr(error, "errno", None) not in {None, errno.EINVAL, errno.EDOM, errno.ENOENT}:
            raise  # anything but "this processor or library does not know the call"


def _add_conditions(rules: _Filter, library: _Library, policy: SyscallPolicy) -> None:
    def equal(index: int, value: int) -> object:
        return library.Arg(index, library.EQ, value)

    for name in ("socket", "socketpair"):
        for family in policy.socket_families:
            _add(rules, library.ALLOW, name, equal(0, family))
        _add(rules, library.ERRNO(errno.EAFNOSUPPORT), name, *_other_families(library, policy))
    without = library.Arg(0, library.MASKED_EQ, policy.clone_refused_flags, 0)
    _add(rules, library.ALLOW, "clone", without)
    for option in policy.prctl_options:
        _add(rules, library.ALLOW, "prctl", equal(0, option))
    for request in policy.ioctl_requests:
        _add(rules, library.ALLOW, "ioctl", equal(1, request))


def _other_families(library: _Library, policy: SyscallPolicy) -> list[object]:
    """Match every family above the highest allowed one, for an honest error number."""
    greater = cast("int", getattr(library, "GT"))  # noqa: B009
    return [library.Arg(0, greater, max(policy.socket_families))]


def _export(rules: _Filter) -> bytes:
    descriptor = os.memfd_create("seccomp")
    with os.fdopen(descriptor, "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
