"""Which hosts there are, where each keeps its configuration, and what it wants to read there."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from mcp_orchestrator.errors import ConfigurationError

SERVER_NAME: Final = "mcp-orchestrator"


@dataclass(frozen=True)
class Host:
    """A program that starts MCP servers, or connects to them.

    Args:
        name: as the command line says it.
        title: as people say it.
        servers_key: the object in its configuration that holds the servers by name.
        user_file: path of the user's configuration below ``user_folder``.
        in_home: whether that lies in the home folder itself, not in the system's folder for
            programs' settings.
        project_file: path of a project's configuration below its folder; None if it has none.
        says_type: whether an entry tells its transport by ``type``.
        takes_url: whether it connects to servers that run elsewhere.
    """

    name: str
    title: str
    servers_key: str
    user_file: PurePosixPath
    in_home: bool
    project_file: PurePosixPath | None
    says_type: bool
    takes_url: bool

    def configuration_file(self, project: Path | None = None) -> Path:
        """Return the file that is to be edited.

        Args:
            project: the folder of a project; None for all of the user's projects.

        Raises:
            ConfigurationError: this host has no configuration for a project.
        """
        if project is None:
            folder = Path.home() if self.in_home else _settings_folder()
            return folder / self.user_file
        if self.project_file is None:
            raise ConfigurationError(
                f"{self.title} has no configuration of its own in a project.",
                remedy="Leave --project out.",
            )
        return project / self.project_file

    def entry(self, url: str | None = None) -> dict[str, object]:
        """Return what its configuration says of this server.

        Args:
            url: where the server is reached; None starts this installation over stdio.

        Raises:
            ConfigurationError: this host starts servers only.
        """
        if url is None:
            arguments = ["-m", "mcp_orchestrator", "serve"]
            entry: dict[str, object] = {"command": sys.executable, "args": arguments}
            return {"type": "stdio", **entry} if self.says_type else entry
        if not self.takes_url:
            raise ConfigurationError(
                f"{self.title} connects to other machines by its own settings, not by this file.",
                remedy=f"Add {url} under Settings, Connectors.",
            )
        return {"type": "http", "url": url} if self.says_type else {"url": url}


#: Paths and shapes are those of the hosts' own documentation of November 2026.
HOSTS: Final = (
    Host(
        "claude-desktop", "Claude Desktop", "mcpServers",
        PurePosixPath("Claude/claude_desktop_config.json"),
        in_home=False, project_file=None, says_type=False, takes_url=False,
    ),
    Host(
        "claude-code", "Claude Code", "mcpServers", PurePosixPath(".claude.json"),
        in_home=True, project_file=PurePosixPath(".mcp.json"), says_type=True, takes_url=True,
    ),
    Host(
        "cursor", "Cursor", "mcpServers", PurePosixPath(".cursor/mcp.json"),
        in_home=True, project_file=PurePosixPath(".cursor/mcp.json"),
        says_type=False, takes_url=True,
    ),
    Host(
        "vscode", "VS Code", "servers", PurePosixPath("Code/User/mcp.json"),
        in_home=False, project_file=PurePosixPath(".vscode/mcp.json"),
        says_type=True, takes_url=True,
    ),
)  # fmt: skip


def host_named(name: str) -> Host:
    """Return the host of a name.

    Raises:
        ConfigurationError: there is none; the error lists all.
    """
    for host in HOSTS:
        if host.name == name:
            return host
    raise ConfigurationError(
        f"There is no host {name!r}.",
        remedy=f"Hosts are: {', '.join(host.name for host in HOSTS)}.",
    )


def install_command(host: Host) -> str:
    """Return the command line that adds this server to a host."""
    return f"{sys.executable} -m mcp_orchestrator install {host.name}"


def _settings_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"))
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
