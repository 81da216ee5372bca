"""Claude Desktop's configuration file."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final, cast

from mcp_orchestrator.errors import ConfigurationError

SERVER_NAME: Final = "mcp-orchestrator"


def config_path() -> Path:
    """Return where Claude Desktop keeps its configuration on this system."""
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"))
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return folder / "Claude" / "claude_desktop_config.json"


def server_entry() -> dict[str, object]:
    """Return the entry that starts this installation over stdio."""
    return {"command": sys.executable, "args": ["-m", "mcp_orchestrator", "serve"]}


def install_command() -> str:
    """Return the command line that adds this server to Claude Desktop."""
    return f"{sys.executable} -m mcp_orchestrator install claude-desktop"


def planned_config(path: Path) -> dict[str, Any]:
    """Return the configuration with this server added, everything else unchanged.

    Raises:
        ConfigurationError: the file is not the JSON object it should be.
    """
    config: object = {}
    if path.exists():
        try:
            config = json.loads(path.read_text(encoding="utf-8") or "{}")
        except ValueError as error:
            raise ConfigurationError(
                f"{path} is not JSON ({error}).", remedy="Mend it by hand; nothing was changed."
            ) from error
    whole: dict[str, Any] = {"mcpServers": None}
    if isinstance(config, dict):
        whole = cast("dict[str, Any]", config)
    servers: Any = whole.setdefault("mcpServers", {})
    if not isinstance(servers, dict):
        raise ConfigurationError(
            f"{path} does not hold an object with `mcpServers`.",
            remedy="Mend it by hand; nothing was changed.",
        )
    servers[SERVER_NAME] = server_entry()
    return whole


def write_config(path: Path, config: dict[str, Any]) -> Path | None:
    """Write the configuration; return the backup of the old file, if there was one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    backup = None
    if path.exists():
        backup = path.with_suffix(".json.backup")
        shutil.copy2(path, backup)
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return backup
