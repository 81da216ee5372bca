"""Making folders reachable for an unprivileged user, seen by nobody but our own children.

A server run by root may live under a home that only root may enter, with its bwrap and its Python.
The launcher then takes a mount namespace of its own and binds those folders on a small file system
in memory; it all goes away with the launcher. Only the standard library is imported here.
"""

import ctypes
import os
from pathlib import Path

_NEW_MOUNT_NAMESPACE = 0x0002_0000  # CLONE_NEWNS
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_POINTS = ("/mnt", "/media", "/srv", "/opt")
_LIBC = ctypes.CDLL(None, use_errno=True)


def is_reachable(path: str) -> bool:
    """Tell whether any user may enter every folder above a path, and the path itself."""
    inside = Path(path).resolve()
    readable = inside.stat().st_mode & (0o005 if inside.is_dir() else 0o004)
    return bool(readable) and all(each.stat().st_mode & 0o001 for each in inside.parents)


class Stage:
    """Folders bound where everybody may enter; nothing is mounted before the first."""

    def __init__(self) -> None:
        self._point: Path | None = None
        self._staged: dict[str, str] = {}

    def reachable(self, path: str) -> str:
        """Return a path, or where it has been bound if an ordinary user cannot reach it."""
        if path in self._staged:
            return self._staged[path]
        return path if is_reachable(path) else self.add(path)

    def add(self, path: str) -> str:
        """Bind a path under the private folder; its name is kept. Returns where it is now.

        Raises:
            OSError: this process may not mount.
        """
        if path not in self._staged:
            self._staged[path] = self._bind(path)
        return self._staged[path]

    def _bind(self, path: str) -> str:
        parent = str(Path(path).parent)  # siblings stay siblings: bwrap finds its library so
        folder = self._open() / f"{abs(hash(parent)):x}"
        folder.mkdir(mode=0o755, exist_ok=True)
        target = folder / Path(path).name
        if Path(path).is_dir():
            target.mkdir(mode=0o755, exist_ok=True)
        else:
            target.touch()
        _mount(path, str(target), _BIND | _RECURSIVE)
        return str(target)

    def _open(self) -> Path:
        """Take a mount namespace of our own, with a small file system in memory."""
        if self._point is None:
            point = next(each for each in _POINTS if Path(each).is_dir())
            _check(_LIBC.unshare(_NEW_MOUNT_NAMESPACE), "unshare")
            _mount("none", "/", _RECURSIVE | _PRIVATE)
            _mount("tmpfs", point, 0, kind=b"tmpfs", options=b"mode=0755,size=64k")
            self._point = Path(point)
        return self._point


def _mount(
    source: str,
    target: str,
    flags: int,
    *,
    kind: bytes | None = None,
    options: bytes | None = None,
) -> None:
    _check(_LIBC.mount(source.encode(), target.encode(), kind, flags, options), target)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: {what}")
