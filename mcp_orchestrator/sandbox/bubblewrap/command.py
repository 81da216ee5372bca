"""bwrap's command line. Only the standard library is imported here: the launcher uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

#: The user inside; outside it is the unprivileged user that bwrap was started as.
INNER_USER = 65534
SHARED_MEMORY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Layout:
    """What the sandbox's file system is made of.

    Attributes:
        binds: pairs of a path outside and the path where it appears, read-only.
        symlinks: pairs of a target and the link's path.
        interpreter: the Python inside.
        path: the value of ``PATH`` inside.
        module_folders: where the interpreter looks for modules, which spares it to find out and
            to read the start-up files of every installed package; empty where it has to.
    """

    binds: Sequence[tuple[str, str]]
    symlinks: Sequence[tuple[str, str]]
    interpreter: str
    path: str
    module_folders: Sequence[str] = ()


def bwrap_arguments(
    layout: Layout,
    *,
    disk_bytes: int,
    filter_descriptor: int,
    program: str,
    environment: Mapping[str, str],
) -> list[str]:
    """Return the arguments after the program's name, for a sandbox that runs one program.

    Each flag answers a trap that was met: ``/proc/sys`` is bound read-only, since a sandbox started
    by root could write it; the program is process 1, since bwrap's own reaper would be a process of
    the same user whose memory the program could write; ``/dev/shm`` has a size of its own, since
    ``--dev`` leaves it as large as half the machine.

    Args:
        layout: what is where.
        disk_bytes: the size of the working folder, and of ``/tmp``.
        filter_descriptor: where bwrap reads the system-call filter from.
        program: Python text that the interpreter executes.
        environment: variables for the guest itself; its program never sees them.
    """
    size = str(disk_bytes)
    shared = str(min(disk_bytes, SHARED_MEMORY_BYTES))
    return [
        *_NAMESPACES, "--disable-userns", *_system(layout),
        "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev",
        "--size", shared, "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
        "--size", size, "--perms", "1777", "--tmpfs", "/tmp",
        "--size", size, "--perms", "0755", "--tmpfs", "/box", "--chdir", "/box",
        "--seccomp", str(filter_descriptor), *_program(layout, program, environment),
    ]  # fmt: skip


def nursery_arguments(layout: Layout, *, program: str) -> list[str]:
    """Return the arguments for the sandbox in which guests are forked.

    Nothing in it can be written. It may make user namespaces, and ``/proc`` has nothing mounted
    over it, since the kernel lets a guest mount its own only then; see ``guest.isolation``.

    Args:
        layout: what is where.
        program: Python text that the interpreter executes.
    """
    return [
        *_NAMESPACES, *_system(layout), "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev",
        "--dir", "/tmp", "--dir", "/box", *_program(layout, program, {"SANDBOX_ENTRY": "nursery"}),
    ]  # fmt: skip


_NAMESPACES: Final = (
    "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
    "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--as-pid-1",
)  # fmt: skip


def _system(layout: Layout) -> list[str]:
    arguments: list[str] = []
    for source, target in layout.binds:
        arguments += ["--ro-bind", source, target]
    for source, target in layout.symlinks:
        arguments += ["--symlink", source, target]
    return arguments


def _program(layout: Layout, program: str, environment: Mapping[str, str]) -> list[str]:
    options = ["-I", "-B", "-X", "utf8"]
    if layout.module_folders:
        options.append("-S")
        environment = {**environment, "SANDBOX_MODULES": ":".join(layout.module_folders)}
    variables = [part for pair in environment.items() for part in ("--setenv", *pair)]
    return [
        "--clearenv", "--setenv", "PATH", layout.path, "--setenv", "HOME", "/box",
        "--setenv", "LANG", "C.UTF-8", *variables,
        "--hostname", "sandbox", "--uid", str(INNER_USER), "--gid", str(INNER_USER),
        "--cap-drop", "ALL", "--remount-ro", "/", "--", layout.interpreter, *options,
        "-c", program,
    ]  # fmt: skip
