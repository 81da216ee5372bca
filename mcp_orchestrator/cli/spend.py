"""`mcp-orchestrator spend`: what model calls have cost."""

from datetime import timedelta
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from mcp_orchestrator.cli.running import DataDir, run_until_done, settings_from
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.runtime import open_ledger
from mcp_orchestrator.store.ledger import Totals

By = Literal["provider", "model", "purpose", "owner", "saga_id"]


def spend(
    by: Annotated[By, typer.Option("--by", help="What a line stands for.")] = "provider",
    days: Annotated[
        float | None, typer.Option("--days", min=0, help="Only calls of the last days.")
    ] = None,
    saga: Annotated[str | None, typer.Option("--saga", help="Only this saga or loop.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Sum what model calls have used and cost."""
    settings = settings_from(log_level="WARNING", data_dir=data_dir)
    since = SystemClock().now() - timedelta(days=days) if days is not None else None

    async def run() -> None:
        async with open_ledger(settings) as ledger:
            found = await ledger.breakdown(by, saga_id=saga, since=since)
        Console().print(_table(by, found))

    run_until_done(run)


def _table(by: By, found: dict[str, Totals]) -> Table:
    table = Table()
    for heading in (by, "calls", "cached", "hit rate", "failed", "tokens in", "tokens out", "cost"):
        table.add_column(heading, overflow="fold")
    for name, totals in sorted(found.items()):
        cost = ", ".join(f"{amount:f} {currency}" for currency, amount in totals.cost.items())
        counts = (
            totals.calls,
            totals.cached_calls,
            f"{totals.hit_rate:.0%}",
            totals.failed_calls,
            totals.input_tokens,
            totals.output_tokens,
        )
        table.add_row(name or "(none)", *map(str, counts), cost)
    return table
