"""`mcp-orchestrator token`: who may use the server over the network."""

import sys
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mcp_orchestrator.cli.running import DataDir, run_until_done, settings_from
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.runtime import open_tokens
from mcp_orchestrator.server.auth.principal import check_scopes
from mcp_orchestrator.store.tokens import AccessTokenRecord

app = typer.Typer(help="Tokens for clients that come over the network.", no_args_is_help=True)


@app.command()
def create(
    principal: Annotated[str, typer.Argument(help="Who it stands for; what they start is theirs.")],
    scopes: Annotated[
        str,
        typer.Option("--scopes", help="read, write, TOOLSET:read, TOOLSET:write, admin; commas."),
    ] = "write",
    days: Annotated[
        float | None, typer.Option("--days", min=0, help="Ends by itself after so many days.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a token and print it; only its hash is kept, so it cannot be printed again."""
    settings = settings_from(log_level="WARNING", data_dir=data_dir)
    wanted = check_scopes(scope.strip() for scope in scopes.split(",") if scope.strip())
    ends = SystemClock().now() + timedelta(days=days) if days is not None else None

    async def run() -> None:
        async with open_tokens(settings) as tokens:
            token, record = await tokens.create(principal, wanted, expires_at=ends)
        sys.stdout.write(f"{token}\n")
        sys.stderr.write(
            f"Token {record.token_id} of {principal}: {', '.join(wanted)}. Keep it: it is not shown"
            " again. Clients send it as `Authorization: Bearer TOKEN`.\n"
        )
        if "token" not in settings.auth:
            sys.stderr.write("Servers ask for it once the setting auth is token.\n")

    run_until_done(run)


@app.command("list")
def list_tokens(data_dir: DataDir = None) -> None:
    """List every token there ever was, without its secret."""
    settings = settings_from(log_level="WARNING", data_dir=data_dir)

    async def run() -> None:
        async with open_tokens(settings) as tokens:
            Console().print(_table(await tokens.list_tokens()))

    run_until_done(run)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="As `token list` shows it.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a token; the next request with it is refused."""
    settings = settings_from(log_level="WARNING", data_dir=data_dir)

    async def run() -> None:
        async with open_tokens(settings) as tokens:
            await tokens.revoke(token_id)
        sys.stdout.write(f"Revoked {token_id}.\n")

    run_until_done(run)


def _table(records: list[AccessTokenRecord]) -> Table:
    table = Table()
    for heading in ("id", "principal", "scopes", "created", "expires", "revoked"):
        table.add_column(heading, overflow="fold")
    for record in records:
        times = (record.created_at, record.expires_at, record.revoked_at)
        shown = (f"{time:%Y-%m-%d %H:%M}" if time else "" for time in times)
        table.add_row(record.token_id, record.principal, ", ".join(record.scopes), *shown)
    return table
