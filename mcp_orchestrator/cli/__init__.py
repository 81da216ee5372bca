"""The command line."""

import json
import sys
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.markup import escape

from mcp_orchestrator import __version__
from mcp_orchestrator.cli import audit, pack, queue, saga, sandbox, schedule, token
from mcp_orchestrator.cli.install import install
from mcp_orchestrator.cli.running import (
    DataDir,
    LogLevel,
    MetricsPort,
    metrics_of,
    run_until_done,
    settings_from,
)
from mcp_orchestrator.cli.spend import spend
from mcp_orchestrator.cli.worker import worker
from mcp_orchestrator.demo.demo import run_demo
from mcp_orchestrator.errors import OrchestratorError
from mcp_orchestrator.runtime import HealthReport, examine, open_runtime
from mcp_orchestrator.server import StandardStreams, serve_http, serve_stdio
from mcp_orchestrator.shutdown import until_signalled
from mcp_orchestrator.web import open_web

app = typer.Typer(
    name="mcp-orchestrator",
    help="An MCP server that gives an AI client work that survives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(queue.app, name="queue")
app.add_typer(schedule.schedule_app, name="schedule")
app.add_typer(schedule.signal_app, name="signal")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(saga.app, name="saga")
app.add_typer(audit.app, name="audit")
app.add_typer(pack.app, name="pack")
app.add_typer(token.app, name="token")
app.command()(install)
app.command()(spend)
app.command()(worker)


@app.command()
def serve(
    transport: Annotated[
        str | None,
        typer.Option("--transport", help="stdio (default), http (/mcp and /sse) or sse."),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 takes a free one.")] = None,
    toolsets: Annotated[
        str | None, typer.Option("--toolsets", help="default, all, queue, saga, …, with commas.")
    ] = None,
    tools: Annotated[
        str | None, typer.Option("--tools", help="More tools, by name, with commas.")
    ] = None,
    read_only: Annotated[
        bool | None, typer.Option("--read-only", help="Only tools that change nothing.")
    ] = None,
    data_dir: DataDir = None,
    log_level: LogLevel = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Serve MCP: over stdio for one client, or over HTTP for many."""
    settings = settings_from(
        transport=transport, host=host, port=port, toolsets=toolsets, tools=tools,
        read_only=read_only, data_dir=data_dir, log_level=log_level, metrics_port=metrics_port,
    )  # fmt: skip
    streams = StandardStreams() if settings.transport == "stdio" else None

    async def run() -> None:
        async with open_runtime(settings) as runtime:
            with metrics_of(runtime.metrics, settings):
                await until_signalled(
                    lambda: (
                        serve_stdio(runtime, streams) if streams else serve_http(runtime, open_web)
                    )
                )

    run_until_done(run)


@app.command()
def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Folder to keep the demo's data in.")
    ] = None,
) -> None:
    """Show the main job end to end with a small real model; needs no key and no network."""
    settings_from(log_level="ERROR")
    raise typer.Exit(anyio.run(run_demo, Console(), keep))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
    log_level: LogLevel = "ERROR",
) -> None:
    """Say which back end each part uses, whether it answers, and what to do if it does not."""
    settings = settings_from(data_dir=data_dir, log_level=log_level)
    reports: list[HealthReport] = []

    async def run() -> None:
        async with open_runtime(settings, background=False) as runtime:
            reports.append(await examine(runtime))

    run_until_done(run)
    report = reports[0]
    if as_json:
        sys.stdout.write(json.dumps(report.model_dump(mode="json"), indent=2) + "\n")
    else:
        _print_report(report)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"mcp-orchestrator {__version__}\n")


def main() -> None:
    """Run the command line; one clear line on an error of ours, never a traceback."""
    try:
        app()
    except OrchestratorError as error:
        sys.stderr.write(f"mcp-orchestrator: {error}\n")
        sys.exit(2)


def _print_report(report: HealthReport) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"[bold]mcp-orchestrator {report.version}[/]")
    for part in report.parts:
        mark = "[green]✓[/]" if part.ok else "[red]✗[/]" if part.required else "[yellow]![/]"
        console.print(f"{mark} [bold]{part.part:<10}[/] {escape(part.backend)}")
        for line in filter(None, (part.detail, part.remedy and f"→ {part.remedy}")):
            console.print(f"    {escape(line)}")
    console.print("The main job can run." if report.ok else "The main job cannot run.")
