"""What the program left in its folder: new and changed files, within limits, not through links."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PIECE = 262_144
_LONGEST_PATH = 255
_MOST_OMITTED = 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ArtifactCollector:
    """Finds and sends the files of the working folder that were not there before.

    Args:
        limits: ``files``, ``file_bytes``, ``total_bytes``, ``depth`` (folders above a file) and
            ``entries`` (how much of the folder is looked at).
    """

    def __init__(self, limits: dict[str, int]) -> None:
        self._limits = limits
        self._known: dict[str, tuple[int, int, int]] = {}
        self._omitted: list[tuple[str, str]] = []
        self._seen = 0

    def know(self, paths: list[str]) -> None:
        """Leave files out as long as they stay as they are now."""
        for path in paths:
            self._known[os.path.normpath(path)] = _state(os.lstat(path))

    def collect(self, send: Callable[[str, bytes], None]) -> list[tuple[str, str]]:
        """Send every new or changed file in pieces; returns what was left out, and why.

        Args:
            send: is given the path and a piece of the content, at least once for each file.
        """
        self._omitted, self._seen = [], 0
        files, total = 0, 0
        for path, found in self._walk("", 0):
            state = _state(found)
            if self._known.get(path) == state:
                continue
            self._known[path] = state
            if files == self._limits["files"]:
                self._omit(path, f"more than {files} files")
            elif found.st_size > self._limits["file_bytes"]:
                self._omit(path, f"{found.st_size} bytes long")
            elif total + found.st_size > self._limits["total_bytes"]:
                self._omit(path, "too much together with the others")
            elif self._send(path, found.st_size, send):
                files += 1
                total += found.st_size
        return self._omitted

    def _walk(self, folder: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
        for name in self._names(folder):
            path = f"{folder}/{name}" if folder else name
            try:
                path.encode()
                found = os.lstat(path)
            except (OSError, UnicodeEncodeError):
                self._omit(ascii(path), "its name cannot be used")
                continue
            if stat.S_ISDIR(found.st_mode):
                if depth == self._limits["depth"]:
                    self._omit(path, "too many folders deep")
                else:
                    yield from self._walk(path, depth + 1)
            elif len(path) > _LONGEST_PATH or not path.isprintable():
                self._omit(ascii(path), "its name cannot be used")
            elif not stat.S_ISREG(found.st_mode):
                kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
                self._omit(path, kind)
            elif found.st_nlink > 1:
                self._omit(path, "it has hard links")
            else:
                yield path, found

    def _names(self, folder: str) -> list[str]:
        names: list[str] = []
        try:
            with os.scandir(folder or ".") as entries:
                for entry in entries:
                    self._seen += 1
                    if self._seen > self._limits["entries"]:
                        self._omit(folder or ".", "too many files to look at")
                        break
                    names.append(entry.name)
        except OSError:
            self._omit(folder, "it cannot be opened")
        return sorted(names)

    def _send(self, path: str, size: int, send: Callable[[str, bytes], None]) -> bool:
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError:
            self._omit(path, "it cannot be opened")
            return False
        try:
            first = True
            while size > 0 or first:
                piece = os.read(descriptor, min(size, _PIECE))
                if not piece and not first:
                    break
                send(path, piece)
                size -= len(piece) or size
                first = False
        finally:
            os.close(descriptor)
        return True

    def _omit(self, path: str, why: str) -> None:
        if len(self._omitted) < _MOST_OMITTED:
            self._omitted.append((path[:_LONGEST_PATH], why))


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size
