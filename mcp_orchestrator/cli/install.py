"""``install``: connect a host program to this server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mcp_orchestrator.hosts import HOSTS, SERVER_NAME, host_named, planned_change


def install(
    host: Annotated[str, typer.Argument(help=f"One of: {', '.join(each.name for each in HOSTS)}.")],
    project: Annotated[
        Path | None, typer.Option("--project", help="Only for the project in this folder.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="Connect to a server that runs there, …/mcp, not to a new one."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the change.")] = False,
) -> None:
    """Add this server to a host's configuration; the change is shown and a backup kept."""
    chosen = host_named(host)
    path = chosen.configuration_file(project)
    change = planned_change(path, chosen.servers_key, SERVER_NAME, chosen.entry(url))
    sys.stdout.write(change.as_diff() or f"{path} says so already.\n")
    if dry_run or change.after == change.before:
        return
    backup = change.write()
    kept = f" The old file is {backup}." if backup else ""
    sys.stdout.write(f"Written.{kept} Restart {chosen.title}.\n")
