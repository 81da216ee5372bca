"""What comes out of a run beside its output: files, checked anew on this side of the wall."""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from mcp_orchestrator.sandbox.request import DEEPEST_PATH, MEBIBYTE

#: What the guest is told, and what is held here whatever it does.
ARTIFACT_LIMITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "files": 64,
        "file_bytes": 8 * MEBIBYTE,
        "total_bytes": 16 * MEBIBYTE,
        "depth": DEEPEST_PATH - 1,
        "entries": 4000,
    }
)
_PATH_LENGTH_BYTES = 2
_IMAGES: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        b"\x89PNG\r\n\x1a\n": "image/png",
        b"\xff\xd8\xff": "image/jpeg",
        b"GIF87a": "image/gif",
        b"GIF89a": "image/gif",
    }
)
_PLAIN = "application/octet-stream"


@dataclass(frozen=True)
class Artifact:
    """A file that a program made.

    Attributes:
        path: where, relative to the working folder.
        content: its bytes.
    """

    path: str
    content: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return len(self.content)

    @property
    def sha256(self) -> str:
        """The hash of its content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def media_type(self) -> str:
        """What it is: images by their first bytes, everything else by its name."""
        for signature, kind in _IMAGES.items():
            if self.content.startswith(signature):
                return kind
        guessed = mimetypes.guess_type(self.path)[0] or _PLAIN
        return _PLAIN if guessed in set(_IMAGES.values()) else guessed


class ArtifactIntake:
    """Takes the pieces that a guest sends; what breaks a limit is dropped, whatever it claims."""

    def __init__(self) -> None:
        self._files: dict[str, bytearray] = {}
        self._total = 0

    def feed(self, payload: bytes) -> None:
        """Take one piece: the path's length, the path, some content.

        Raises:
            ValueError: it makes no sense.
        """
        start = _PATH_LENGTH_BYTES + int.from_bytes(payload[:_PATH_LENGTH_BYTES], "big")
        path = payload[_PATH_LENGTH_BYTES:start].decode("utf-8")
        content = payload[start:]
        if not _is_safe(path):
            raise ValueError("an unsafe path")
        held = self._files.get(path)
        if held is None:
            if len(self._files) >= ARTIFACT_LIMITS["files"]:
                raise ValueError("too many files")
            held = self._files[path] = bytearray()
        self._total += len(content)
        held += content
        if (
            len(held) > ARTIFACT_LIMITS["file_bytes"]
            or self._total > ARTIFACT_LIMITS["total_bytes"]
        ):
            raise ValueError("too much content")

    def artifacts(self) -> tuple[Artifact, ...]:
        """Return the files, by path."""
        return tuple(Artifact(path, bytes(self._files[path])) for path in sorted(self._files))


def _is_safe(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and str(PurePosixPath(path)) == path
        and not path.startswith("/")
        and ".." not in parts
        and len(parts) <= DEEPEST_PATH
        and len(path) <= 255
        and path.isprintable()
    )
