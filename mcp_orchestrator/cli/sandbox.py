"""`mcp-orchestrator sandbox …`: making its image, and trying to get out of it on this machine."""

import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mcp_orchestrator.cli.running import DataDir, run_until_done, settings_from
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.runtime import open_runs
from mcp_orchestrator.sandbox import PLAIN, RiskPolicy, build_image, open_sandbox
from mcp_orchestrator.sandbox.bubblewrap.building import DATA_PACKAGES, build_environment
from mcp_orchestrator.sandbox.docker.building import Profile
from mcp_orchestrator.sandbox.profiles import profile_image
from mcp_orchestrator.sandbox.seccomp.derivation import derive, workload_path
from mcp_orchestrator.sandbox.selftest import AttemptResult, selftest
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.store.run_chain import RunTampering

app = typer.Typer(help="Make the sandbox's image; test its walls.", no_args_is_help=True)

_OWN_PYTHON = Path(sys.executable)
#: The attempts are hostile on purpose, so no score may keep them from reaching the walls.
_FEARLESS = RiskPolicy(strict_from=101, refuse_from=101)


@app.command("selftest")
def run_selftest(
    backend: Annotated[
        str | None, typer.Option("--backend", help="docker or bubblewrap; else the setting.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show every attempt.")] = False,
) -> None:
    """Try more than a hundred ways out of the sandbox, and say which layer held what."""
    settings = settings_from(sandbox=backend, log_level="ERROR")
    results: list[AttemptResult] = []
    console = Console(soft_wrap=True, highlight=False)

    async def run() -> None:
        sandbox = await open_sandbox(
            settings.sandbox,
            clock=SystemClock(),
            docker_host=settings.docker_host,
            image=settings.sandbox_image,
            runtime=settings.sandbox_runtime,
            nursery=settings.sandbox_nursery,
            warm=settings.sandbox_warm,
            risk_policy=_FEARLESS,
        )
        try:
            status = await sandbox.check()
            console.print(f"{status.backend} {status.version}, Python {status.interpreter}")
            console.print(f"Layers: {', '.join(status.layers)}")
            async for result in selftest(sandbox):
                results.append(result)
                if verbose or not result.held:
                    _print_attempt(console, result)
        finally:
            await sandbox.close()

    run_until_done(run)
    _print_layers(console, results)
    raise typer.Exit(0 if all(result.held for result in results) else 1)


@app.command()
def build(
    profile: Annotated[
        str, typer.Option(help="plain, data for numpy and its kin, or a name of your own.")
    ] = "plain",
    backend: Annotated[
        str, typer.Option(help="docker, or bubblewrap for a virtual environment.")
    ] = "docker",
    package: Annotated[
        list[str] | None, typer.Option(help="What pip puts into the virtual environment.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="The image's name; else the setting.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Build a Dockerfile of your own.")] = None,
    base: Annotated[
        str | None, typer.Option(help="An image with Python to start from, say of your registry.")
    ] = None,
    from_root: Annotated[
        Path | None, typer.Option(help="Import a root file system (tar); needs no registry.")
    ] = None,
) -> None:
    """Make the image that Docker sandboxes are started from, or a profile for bubblewrap."""
    settings = settings_from(log_level="ERROR")
    if backend == "bubblewrap":
        _build_environment(settings, profile, package)
        return
    stages = get_args(Profile)
    if profile not in stages and folder is None and from_root is None:
        raise typer.BadParameter(f"Choose {' or '.join(stages)}.", param_hint="--profile")
    chosen: Profile = "data" if profile == "data" else "plain"
    name = tag or (settings.sandbox_image if profile == PLAIN else profile_image(profile))

    async def run() -> None:
        digest = await build_image(
            name,
            docker_host=settings.docker_host,
            profile=chosen,
            folder=folder,
            root=from_root,
            base=base,
        )
        typer.echo(f"{name} {digest}")

    run_until_done(run)


def _build_environment(settings: Settings, profile: str, packages: list[str] | None) -> None:
    if profile == PLAIN or not profile.isidentifier():
        raise typer.BadParameter(
            "bubblewrap's plain profile is this machine's Python; name another.",
            param_hint="--profile",
        )
    wanted = packages or (list(DATA_PACKAGES) if profile == "data" else [])
    if not wanted:
        raise typer.BadParameter("Say what to put into it.", param_hint="--package")

    async def run() -> None:
        made = await build_environment(settings.sandbox_environments / profile, wanted)
        typer.echo(f"{profile} {made}")

    run_until_done(run)


@app.command("derive-policy")
def derive_policy(
    program: Annotated[
        Path | None, typer.Argument(help="A Python program; else one that uses much of Python.")
    ] = None,
    python: Annotated[Path, typer.Option(help="The interpreter that runs it.")] = _OWN_PYTHON,
) -> None:
    """Watch a program by strace, and say which system calls it needs that the policy refuses."""
    derived = derive(program or workload_path(), python)
    typer.echo("\n".join(textwrap.wrap(" ".join(sorted(derived.used)), 96)))
    for name, treatment in sorted(derived.refused.items()):
        typer.echo(f"not allowed: {name} ({treatment})")
    typer.echo(f"{len(derived.used)} system calls used, {len(derived.refused)} not allowed.")


@app.command()
def verify(data_dir: DataDir = None) -> None:
    """Recompute the hash chains of all recorded runs, and say what was tampered with."""
    settings = settings_from(data_dir=data_dir, log_level="ERROR")
    found: list[RunTampering] = []

    async def run() -> None:
        async with open_runs(settings) as runs:
            found.extend(await runs.verify())

    run_until_done(run)
    for each in found:
        typer.echo(f"chain {each.chain_id}, run {each.sequence}: {each.what}")
    typer.echo(f"{len(found)} places are not as they were written." if found else "Intact.")
    raise typer.Exit(1 if found else 0)


def _print_attempt(console: Console, result: AttemptResult) -> None:
    mark = "[green]held[/]" if result.held else "[red]ESCAPED[/]"
    attempt = result.attempt
    console.print(f"{mark} {escape(attempt.name)} — {attempt.layer} — {escape(result.detail)}")


def _print_layers(console: Console, results: list[AttemptResult]) -> None:
    tried = Counter(result.attempt.layer for result in results)
    held = Counter(result.attempt.layer for result in results if result.held)
    table = Table("layer", "attempts", "held")
    for layer, count in sorted(tried.items()):
        table.add_row(layer, str(count), str(held[layer]))
    console.print(table)
    console.print(f"{held.total()} of {tried.total()} attempts held.")
