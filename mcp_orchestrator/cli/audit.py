"""`mcp-orchestrator audit …`: reading, checking and exporting what happened to sagas."""

from pathlib import Path
from typing import Annotated

import typer

from mcp_orchestrator.cli.running import DataDir
from mcp_orchestrator.cli.saga import with_sagas
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import ConfigurationError, InvalidInputError
from mcp_orchestrator.runtime.encryption import read_anchor_key
from mcp_orchestrator.runtime.saga_store import SagaStore
from mcp_orchestrator.store.anchors import verify_anchors, write_anchor
from mcp_orchestrator.store.audit import verify_all, verify_saga
from mcp_orchestrator.store.export import export_audit
from mcp_orchestrator.store.segments import Bucket, Folder, SegmentFormat, export_segments

app = typer.Typer(help="Read, check and export the sagas' audit trail.", no_args_is_help=True)

KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help="File with the secret that signs; the setting by default."),
]


@app.command()
def verify(
    saga_id: Annotated[str | None, typer.Argument(help="One saga; all without.")] = None,
    key_file: KeyFile = None,
    data_dir: DataDir = None,
) -> None:
    """Recompute the hash chains; name every altered, removed or reordered event, and fail.

    With a key file the signed anchors are checked too, which show when whole sagas are gone.
    """
    found: list[str] = []

    async def work(store: SagaStore) -> None:
        key = read_anchor_key(store.settings)
        async with store.database.read() as connection:
            if saga_id is None:
                places = [place async for place in verify_all(connection)]
            else:
                places = await verify_saga(connection, saga_id)
        found.extend(f"{place.saga_id} event {place.sequence}: {place.what}" for place in places)
        if key is not None:
            found.extend([fault async for fault in verify_anchors(store.database, key)])

    with_sagas(work, data_dir=data_dir, audit_key_file=key_file)
    for line in found:
        typer.echo(line)
    typer.echo(f"{len(found)} faults" if found else "The audit trail is intact.")
    raise typer.Exit(1 if found else 0)


@app.command()
def anchor(key_file: KeyFile = None, data_dir: DataDir = None) -> None:
    """Sign all events since the last anchor, as servers do; keep what it prints."""

    async def work(store: SagaStore) -> None:
        key = read_anchor_key(store.settings)
        if key is None:
            raise ConfigurationError("There is no key to sign with.", remedy="Use --key-file.")
        signature = await write_anchor(store.database, store.committer, key, SystemClock())
        typer.echo(signature or "Nothing has happened since the last anchor.")

    with_sagas(work, data_dir=data_dir, audit_key_file=key_file)


@app.command()
def show(
    saga_id: str,
    after: Annotated[int, typer.Option(min=0, help="Only events with a higher number.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Print a saga's history, a line for each event."""

    async def work(store: SagaStore) -> None:
        last = after
        while page := await store.sagas.audit(saga_id, after=last):
            for event in page:
                moved = event.state_before != event.state_after
                parts = [
                    f"{event.sequence:>4}", event.timestamp.isoformat(timespec="milliseconds"),
                    event.event_type.value, event.step_name or "",
                    f"{event.state_before} → {event.state_after}" if moved else "",
                    event.error_message or "",
                ]  # fmt: skip
                typer.echo(" ".join(part for part in parts if part))
            last = page[-1].sequence

    with_sagas(work, data_dir=data_dir)


@app.command()
def export(
    to: Annotated[
        str, typer.Argument(help="A file of JSON Lines, a folder, or s3://BUCKET/PREFIX.")
    ],
    saga_id: Annotated[
        str | None, typer.Option("--saga", help="Only this saga; to a file only.")
    ] = None,
    form: Annotated[
        SegmentFormat | None,
        typer.Option("--format", help="Segments of this format, in a folder or a bucket."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the events that are not there yet; it goes on where it ended, whatever crashed."""
    bucket = to.startswith("s3://")
    segments = bucket or form is not None or Path(to).is_dir()
    if segments and saga_id is not None:
        raise InvalidInputError("--saga: one saga is exported to a file of JSON Lines only.")

    async def work(store: SagaStore) -> None:
        if segments:
            destination = Bucket(to) if bucket else Folder(Path(to))
            count = await export_segments(store.database, destination, form or "jsonl")
        else:
            count = await export_audit(store.database, Path(to), saga_id=saga_id)
        typer.echo(f"{count} events written to {to}")

    with_sagas(work, data_dir=data_dir)
