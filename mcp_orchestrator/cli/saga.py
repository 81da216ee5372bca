"""`mcp-orchestrator saga …`: looking into sagas and putting them right."""

import getpass
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mcp_orchestrator.cli.running import DataDir, run_until_done, settings_from
from mcp_orchestrator.errors import ConfigurationError, InvalidInputError
from mcp_orchestrator.runtime import open_runtime
from mcp_orchestrator.runtime.saga_store import SagaStore, open_sagas
from mcp_orchestrator.saga import (
    Finding,
    Interventions,
    JsonObject,
    Order,
    Preview,
    SagaEngine,
    SagaState,
    SagaView,
    explain,
    mermaid,
    parse_definition,
)
from mcp_orchestrator.store.data_keys import rotate_keys

app = typer.Typer(help="Look into sagas and put them right.", no_args_is_help=True)

Reason = Annotated[str, typer.Option("--reason", help="Why; the audit trail keeps it.")]
NewInput = Annotated[
    str | None, typer.Option("--input", help="JSON object in the place of the saga's input.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command("list")
def list_sagas(
    state: Annotated[SagaState | None, typer.Option(help="Only in this state.")] = None,
    saga_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    error: Annotated[str | None, typer.Option(help="Only with this text in the error.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    data_dir: DataDir = None,
) -> None:
    """List sagas, the latest changed first."""

    async def work(sagas: SagaEngine) -> None:
        views = await sagas.list_sagas(state, saga_type, limit=limit, error=error)
        Console().print(_table(views))

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)


@app.command()
def show(
    saga_id: str,
    graph: Annotated[bool, typer.Option("--graph", help="Print a Mermaid flow chart.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show one saga with its steps, results and errors."""

    async def work(sagas: SagaEngine) -> None:
        view = await sagas.get(saga_id)
        typer.echo(mermaid(view), nl=False) if graph else Console(soft_wrap=True).print(view)

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)


@app.command()
def define(
    file: Annotated[Path, typer.Argument(help="A definition as JSON, with name and version.")],
    data_dir: DataDir = None,
) -> None:
    """Keep a definition under its name and version, to be started by them."""
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{file}: {error}.") from error
    settings = settings_from(log_level="WARNING", data_dir=data_dir)

    async def run() -> None:
        async with open_runtime(settings, background=False) as runtime:
            definition = parse_definition(document, runtime.registry)
            await runtime.sagas.definitions.register(definition)
            typer.echo(f"{definition.name} {definition.version}: {definition.content_hash}")

    run_until_done(run)


@app.command()
def definitions(data_dir: DataDir = None) -> None:
    """List registered definitions, the latest version of each first."""

    async def work(sagas: SagaEngine) -> None:
        for one in await sagas.definitions.list_all():
            when = one.registered_at.isoformat(timespec="seconds")
            typer.echo(f"{one.name} {one.version} {when} {one.definition_hash}")

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)


@app.command("explain")
def explain_saga(saga_id: str, data_dir: DataDir = None) -> None:
    """Say why a saga stands where it stands, what comes next, and what is safe to do."""

    async def work(sagas: SagaEngine) -> None:
        told = explain(await sagas.get(saga_id))
        when = f" ({told.when.isoformat(timespec='seconds')})" if told.when else ""
        typer.echo(f"Why:    {told.why}\nNext:   {told.next}{when}\nAdvice: {told.advice}")

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)


@app.command()
def retry(
    saga_id: str,
    *,
    reason: Reason,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", help="STEP or STEP=JSON: it counts as done and returned that."),
    ] = None,
    new_input: NewInput = None,
    dry_run: DryRun = False,
    data_dir: DataDir = None,
) -> None:
    """Run what is not completed of a saga that failed, was aborted or is held."""
    skipped = dict(_skipped(text) for text in skip or [])
    order, given = _order(reason), _input(new_input)
    _give(
        lambda hand: hand.preview_retry(saga_id, skipped),
        lambda hand: hand.retry(saga_id, order, skip=skipped, new_input=given),
        dry_run=dry_run, data_dir=data_dir,
    )  # fmt: skip


@app.command()
def fork(
    saga_id: str,
    from_step: str,
    *,
    reason: Reason,
    new_input: NewInput = None,
    dry_run: DryRun = False,
    data_dir: DataDir = None,
) -> None:
    """Start a new saga with a finished one's results up to a step, and run the rest."""
    order, given = _order(reason), _input(new_input)
    _give(
        lambda hand: hand.preview_fork(saga_id, from_step),
        lambda hand: hand.fork(saga_id, order, from_step=from_step, new_input=given),
        dry_run=dry_run, data_dir=data_dir,
    )  # fmt: skip


@app.command()
def rewind(
    saga_id: str,
    to_step: str,
    *,
    reason: Reason,
    new_input: NewInput = None,
    dry_run: DryRun = False,
    data_dir: DataDir = None,
) -> None:
    """Undo a step and all after it, and run them anew in the same saga."""
    order, given = _order(reason), _input(new_input)
    _give(
        lambda hand: hand.preview_rewind(saga_id, to_step),
        lambda hand: hand.rewind(saga_id, order, to_step=to_step, new_input=given),
        dry_run=dry_run, data_dir=data_dir,
    )  # fmt: skip


@app.command()
def reconcile(saga_id: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Ask probes what really happened; exits with 1 where the store believes otherwise."""
    findings: list[Finding] = []

    async def work(sagas: SagaEngine) -> None:
        findings.extend(await sagas.by_hand.reconcile(saga_id, _order(reason)))

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)
    for finding in findings:
        seen = {True: "it happened", False: "it did not happen", None: "the probe failed"}
        verdict = "agrees" if finding.agrees else "DIFFERS"
        told = f" ({finding.error})" if finding.error else ""
        typer.echo(f"{finding.step}: {finding.believed}; {seen[finding.happened]}{told}: {verdict}")
    if not findings:
        typer.echo("No step of it has a probe.")
    raise typer.Exit(0 if all(finding.agrees for finding in findings) else 1)


@app.command()
def approve(
    saga_id: str,
    approval: str,
    reason: Reason,
    refuse: Annotated[bool, typer.Option("--refuse", help="Say no; the saga is undone.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Give the decision that a `saga.approval` step waits for."""
    order = _order(reason)

    async def work(sagas: SagaEngine) -> None:
        await sagas.approve(saga_id, approval, order, approved=not refuse)
        typer.echo(f"{saga_id}: {'refused' if refuse else 'approved'} by {order.user_id}")

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)


@app.command()
def compensate(
    saga_id: str, reason: Reason, dry_run: DryRun = False, data_dir: DataDir = None
) -> None:
    """Undo what a saga has completed, and try again what could not be undone."""
    order = _order(reason)
    _give(
        lambda hand: hand.preview_compensate(saga_id),
        lambda hand: hand.compensate(saga_id, order),
        dry_run=dry_run, data_dir=data_dir,
    )  # fmt: skip


@app.command()
def resolve(
    saga_id: str,
    reason: Reason,
    happened: Annotated[
        list[str] | None,
        typer.Option("--happened", help="STEP or STEP=JSON in flight that did have its effect."),
    ] = None,
    dry_run: DryRun = False,
    data_dir: DataDir = None,
) -> None:
    """Say that what needed a person is settled; a held saga goes on."""
    order, done = _order(reason), dict(_skipped(text) for text in happened or [])
    _give(
        lambda hand: hand.preview_resolve(saga_id, done),
        lambda hand: hand.resolve(saga_id, order, happened=done),
        dry_run=dry_run, data_dir=data_dir,
    )  # fmt: skip


@app.command()
def abort(
    saga_id: str,
    reason: Reason,
    leave: Annotated[
        bool, typer.Option("--leave", help="Do not undo what is done; list it for a person.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Stop a saga, wherever it runs."""

    async def work(sagas: SagaEngine) -> None:
        await sagas.abort(saga_id, reason, compensate=not leave)
        typer.echo(f"{saga_id}: asked to stop")

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)


@app.command()
def signal(
    saga_id: str,
    name: str,
    value: Annotated[str, typer.Option("--value", help="JSON that the step returns.")] = "null",
    data_dir: DataDir = None,
) -> None:
    """Send a saga the signal that one of its steps waits for."""
    body = _json(value)

    async def work(sagas: SagaEngine) -> None:
        await sagas.signal(saga_id, name, body)
        typer.echo(f"{saga_id}: signal {name!r} is on its way")

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)


@app.command()
def erase(saga_id: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Destroy the data key of a finished saga and its children: nobody can read them again."""

    async def work(sagas: SagaEngine) -> None:
        await sagas.by_hand.erase(saga_id, _order(reason))
        typer.echo(f"{saga_id}: erased; its audit trail still verifies")

    with_sagas(lambda store: work(store.sagas), data_dir=data_dir)


@app.command("rotate-keys")
def rotate(data_dir: DataDir = None) -> None:
    """Wrap every saga's data key anew under the first master key; servers may run meanwhile."""

    async def work(store: SagaStore) -> None:
        if store.vault is None:
            raise ConfigurationError(
                "There is no master key.", remedy="Set MCP_ORCHESTRATOR_MASTER_KEY_FILE."
            )
        count = await rotate_keys(store.database, store.committer, store.vault.keys)
        typer.echo(f"{count} data keys are now under {await store.vault.keys.current_id()}")

    with_sagas(work, data_dir=data_dir)


def with_sagas(work: Callable[[SagaStore], Awaitable[None]], **flags: object) -> None:
    """Open the sagas, do something with them, and close them."""
    settings = settings_from(log_level="WARNING", **flags)

    async def run() -> None:
        async with open_sagas(settings) as store:
            await work(store)

    run_until_done(run)


def _give(
    preview: Callable[[Interventions], Awaitable[Preview]],
    order: Callable[[Interventions], Awaitable[SagaView]],
    *,
    dry_run: bool,
    data_dir: Path | None,
) -> None:
    """Say what an order would do; then give it, unless that was all that was asked."""

    async def work(store: SagaStore) -> None:
        plan = await preview(store.sagas.by_hand)
        for word, steps in (("run", plan.runs), ("undo", plan.compensates), ("skip", plan.skips)):
            if steps:
                typer.echo(f"{word}: {', '.join(steps)}")
        if not dry_run:
            view = await order(store.sagas.by_hand)
            typer.echo(f"{view.saga_id}: {view.state.value}")

    with_sagas(work, data_dir=data_dir)


def _order(reason: str) -> Order:
    return Order(reason, getpass.getuser())


def _skipped(text: str) -> tuple[str, JsonValue]:
    name, given, value = text.partition("=")
    return name, _json(value) if given else None


def _json(text: str) -> JsonValue:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInputError(
            f"{text!r} is not JSON.", remedy="Quote text: '\"text\"'."
        ) from error


def _input(text: str | None) -> JsonObject | None:
    value = _json(text) if text is not None else None
    if value is not None and not isinstance(value, dict):
        raise InvalidInputError("--input: a saga's input is an object.")
    return value


def _table(views: list[SagaView]) -> Table:
    table = Table()
    for heading in ("saga", "type", "state", "step", "changed", "error"):
        table.add_column(heading, overflow="fold")
    for view in views:
        table.add_row(
            view.saga_id,
            escape(view.saga_type),
            view.state.value + (" (needs a person)" if view.needs_person else ""),
            escape(view.steps[view.current_step_index].name),
            view.updated_at.isoformat(timespec="seconds"),
            escape(view.error or ""),
        )
    return table
