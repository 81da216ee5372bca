"""Making folders reachable for an unprivileged user, seen by nobody but our own children.

A server run by root may live under a home that only root may enter, with its bwrap and its Python.
The launcher then takes a mount namespace of its own and binds those folders on a small file system
in memory; it all goes away with the launcher. Only the standard library is imported here.
"""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_NEW_MOUNT_NAMESPACE = 0x0002_0000  # CLONE_NEWNS
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_POINTS = ("/mnt", "/media", "/srv", "/opt")


def is_reachable(path: str) -> bool:
    """Tell whether any user may enter every folder above a path, and the path itself."""
    inside = Path(path).resolve()
    readable = inside.stat().st_mode & (0o005 if inside.is_dir() else 0o004)
    return bool(readable) and all(each.stat().st_mode & 0o001 for each in inside.parents)


def stage(paths: Iterable[str]) -> dict[str, str]:
    """Bind each path under a private folder that everybody may enter; its name is kept.

    Returns:
        Where each path is now.

    Raises:
        OSError: this process may not mount.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    point = next(each for each in _POINTS if Path(each).is_dir())
    _check(libc.unshare(_NEW_MOUNT_NAMESPACE), "unshare")
    _check(libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None), "private /")
    _check(libc.mount(b"tmpfs", point.encode(), b"tmpfs", 0, b"mode=0755,size=64k"), point)
    staged: dict[str, str] = {}
    for number, path in enumerate(sorted(set(paths))):
        parent = str(Path(path).parent)  # siblings stay siblings: bwrap finds its library so
        folder = Path(point) / f"{abs(hash(parent)):x}"
        folder.mkdir(mode=0o755, exist_ok=True)
        target = folder / (Path(path).name or str(number))
        if Path(path).is_dir():
            target.mkdir(mode=0o755, exist_ok=True)
        else:
            target.touch()
        _check(
            libc.mount(path.encode(), str(target).encode(), None, _BIND | _RECURSIVE, None), path
        )
        staged[path] = str(target)
    return staged


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: {what}")
