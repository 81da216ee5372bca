"""Editing another program's configuration file without losing what is in it."""

import json
import shutil
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from mcp_orchestrator.errors import ConfigurationError


@dataclass(frozen=True)
class Change:
    """What is to be written to a file.

    Args:
        path: the file.
        before: its text now; None if it is not there.
        after: its text then.
    """

    path: Path
    before: str | None
    after: str

    def as_diff(self) -> str:
        """Return the change as a unified diff, empty if nothing changes."""
        lines = unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            str(self.path),
            str(self.path),
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def write(self) -> Path | None:
        """Write the file in one move; return the backup of the old one, if there was one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        backup = None
        if self.before is not None:
            backup = self.path.with_name(self.path.name + ".backup")
            shutil.copy2(self.path, backup)
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text(self.after, encoding="utf-8")
        if backup is not None:
            shutil.copymode(backup, partial)
        partial.replace(self.path)
        return backup


def planned_change(path: Path, servers_key: str, name: str, entry: dict[str, object]) -> Change:
    """Return the change that puts one server into a configuration; all else stays.

    Args:
        path: the file; it need not be there.
        servers_key: the object in it that holds the servers by name.
        name: the server's name.
        entry: what is said of it.

    Raises:
        ConfigurationError: the file is not the JSON object it should be.
    """
    before = path.read_text(encoding="utf-8") if path.exists() else None
    whole = _parse(path, before or "{}")
    servers = whole.setdefault(servers_key, {})
    if not isinstance(servers, dict):
        raise _not_understood(path, f"`{servers_key}` is not an object")
    servers[name] = cast("JsonValue", entry)
    return Change(path, before, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")


def _parse(path: Path, text: str) -> dict[str, JsonValue]:
    try:
        whole: JsonValue = json.loads(text)
    except ValueError as error:
        raise _not_understood(path, f"it is not plain JSON ({error})") from error
    if not isinstance(whole, dict):
        raise _not_understood(path, "it is not an object")
    return whole


def _not_understood(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not understood: {why}.",
        remedy="Nothing was changed. Add by hand what --dry-run shows on an empty file.",
    )
