"""The audit trail as segments in a folder or a bucket: files that are there whole or not at all.

A segment's name says which events it holds. So the greatest number among the names says where to
go on, whatever crashed before, and nothing is there twice. One exporter at a time.
"""

import io
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from anyio import to_thread
from sqlalchemy import RowMapping

from mcp_orchestrator.errors import BackendUnavailableError, ConfigurationError, InvalidInputError
from mcp_orchestrator.store.audit import read_trail, settled_end
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.export import plain

SegmentFormat = Literal["jsonl", "parquet"]

#: How many events a segment holds at the most.
LARGEST_SEGMENT = 50_000

_NAME = re.compile(r"audit-(\d{20})-(\d{20})\.(jsonl|parquet)$")
_JSON_COLUMNS = ("event_data", "context_snapshot")


class Destination(Protocol):
    """Where segments are put; its methods block."""

    def names(self) -> Iterable[str]:
        """Return the names of what is there."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Put a segment there, whole or not at all."""
        ...


class Folder:
    """Segments as files of a folder.

    Args:
        path: the folder; it is created where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> Iterable[str]:
        """Return the names of the files."""
        return [file.name for file in self._path.iterdir()] if self._path.is_dir() else []

    def put(self, name: str, data: bytes) -> None:
        """Write a file and give it its name once it is on disk."""
        self._path.mkdir(parents=True, exist_ok=True)
        unfinished = self._path / f".{name}.unfinished"
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path / name)
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Bucket:
    """Segments as objects of a bucket; keys and endpoint come from where boto3 looks for them.

    Args:
        url: ``s3://BUCKET/PREFIX``.

    Raises:
        InvalidInputError: the URL names no bucket.
        ConfigurationError: boto3 is not installed.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc:
            raise InvalidInputError(f"{url!r} names no bucket.", remedy="Write s3://BUCKET/PREFIX.")
        self._bucket = parts.netloc
        prefix = parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _optional("boto3", "s3").client("s3")
        self._error: type[Exception] = _optional("botocore.exceptions", "s3").BotoCoreError
        self._refusal: type[Exception] = _optional("botocore.exceptions", "s3").ClientError

    def names(self) -> Iterable[str]:
        """Return the names of the objects."""
        return self._asking(self._list)

    def _list(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._bucket, Prefix=self._prefix)
        return [str(one["Key"]) for page in found for one in page.get("Contents", [])]

    def put(self, name: str, data: bytes) -> None:
        """Put one object, which readers see only once all of it is there."""
        key = f"{self._prefix}{name}"
        self._asking(lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=data))

    def _asking(self, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except (self._error, self._refusal) as error:
            raise BackendUnavailableError(
                f"The bucket {self._bucket!r} refused: {error}.",
                remedy="Look at the keys, the region and AWS_ENDPOINT_URL.",
            ) from error


async def export_segments(
    database: Database,
    destination: Destination,
    form: SegmentFormat,
    *,
    largest: int = LARGEST_SEGMENT,
) -> int:
    """Put the audit events that a destination does not have yet there.

    Args:
        database: whose trail.
        destination: where to.
        form: what each segment is; those of another form are not looked at.
        largest: how many events a segment holds at the most.

    Returns:
        How many events were put there.

    Raises:
        BackendUnavailableError: the destination refused; what was put there stays.
        ConfigurationError: a package that is needed is not installed.
    """
    encode = _as_lines if form == "jsonl" else _as_parquet
    names = await to_thread.run_sync(destination.names)
    found = (_NAME.search(name) for name in names)
    last = max((int(match[2]) for match in found if match and match[3] == form), default=0)
    async with database.read() as connection:
        until = await settled_end(connection)
    count = 0
    while True:
        async with database.read() as connection:
            page = await read_trail(connection, after=last, until=until, limit=largest)
        if not page:
            return count
        first, last = page[0]["id"], page[-1]["id"]
        data = await to_thread.run_sync(encode, page)
        await to_thread.run_sync(destination.put, f"audit-{first:020}-{last:020}.{form}", data)
        count += len(page)


def _as_lines(page: Sequence[RowMapping]) -> bytes:
    lines = (json.dumps(dict(row), default=plain, sort_keys=True) for row in page)
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _as_parquet(page: Sequence[RowMapping]) -> bytes:
    """Return a Parquet file with a column for each of the table's; JSON is text in it."""
    arrow, parquet = _optional("pyarrow", "parquet"), _optional("pyarrow.parquet", "parquet")
    integers = ("id", "sequence", "step_index", "retry_count", "epoch")
    text = [name for name in page[0] if name not in {*integers, "timestamp", "duration_ms"}]
    schema = arrow.schema(
        [
            *((name, arrow.int64()) for name in integers),
            *((name, arrow.string()) for name in text),
            ("timestamp", arrow.timestamp("us", tz="UTC")),
            ("duration_ms", arrow.float64()),
        ]
    )
    rows = [{**row, **_json_as_text(row)} for row in page]
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def _json_as_text(row: RowMapping) -> dict[str, str | None]:
    return {
        name: None if row[name] is None else json.dumps(row[name], sort_keys=True)
        for name in _JSON_COLUMNS
    }


def _optional(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The package of {module} is not installed.",
            remedy=f"Install mcp-orchestrator[{extra}].",
        ) from error
