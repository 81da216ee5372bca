"""``pack``: write, list and check packs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mcp_orchestrator.cli.running import DataDir, settings_from
from mcp_orchestrator.packs import LoadedPack, Pack, Registry, load_packs
from mcp_orchestrator.packs.checking import findings
from mcp_orchestrator.packs.loader import pack_folders
from mcp_orchestrator.packs.template import write_template

app = typer.Typer(
    help="Packs: your own actions, task handlers, signal routes, tools and prompts.",
    no_args_is_help=True,
)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Letters, digits and _; it prefixes every name.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where to write it.")] = Path("tools"),
) -> None:
    """Write a first pack with one of each, for you to change."""
    path = write_template(folder, name)
    sys.stdout.write(
        f"{path}\nCheck it:  mcp-orchestrator pack check --packs {folder}\n"
        f"Serve it:  MCP_ORCHESTRATOR_PACKS={folder.resolve()} mcp-orchestrator serve\n"
    )


Folders = Annotated[
    list[Path] | None, typer.Option("--packs", help="One more folder of packs; may be repeated.")
]


@app.command("list")
def list_packs(packs: Folders = None, data_dir: DataDir = None) -> None:
    """List the packs that a server here would load, and what each brings."""
    loaded, _ = _load(packs, data_dir)
    for each in loaded:
        if each.pack is None:
            sys.stdout.write(f"{each.origin}: not loaded. {each.error}\n")
            continue
        sys.stdout.write(f"{each.pack.name}: {each.pack.description} ({each.origin})\n")
        for kind, names in _contents(each.pack).items():
            if names:
                sys.stdout.write(f"  {kind}: {', '.join(names)}\n")


@app.command("check")
def check(packs: Folders = None, data_dir: DataDir = None) -> None:
    """Say what is wrong with each pack; exit 1 if anything is."""
    loaded, registry = _load(packs, data_dir)
    known = set(registry.names())
    wrong = False
    for each in loaded:
        found = findings(each.pack, known) if each.pack else [f"not loaded. {each.error}"]
        wrong = wrong or bool(found)
        for line in found or ["nothing is wrong."]:
            sys.stdout.write(f"{each.origin}: {line}\n")
    raise typer.Exit(1 if wrong else 0)


def _load(packs: list[Path] | None, data_dir: Path | None) -> tuple[list[LoadedPack], Registry]:
    settings = settings_from(log_level="ERROR", data_dir=data_dir)
    registry = Registry()
    folders = pack_folders([*settings.packs, *(packs or [])])
    return load_packs(folders, registry, settings.data_dir), registry


def _contents(pack: Pack) -> dict[str, list[str]]:
    return {
        "actions": sorted(pack.actions),
        "task handlers": sorted(pack.handlers),
        "signals": [f"{rule.pattern} → {rule.name}" for rule in pack.rules],
        "tools": sorted(pack.tools),
        "prompts": sorted(pack.prompts),
    }
