"""The audit trail in a folder and in a bucket of a real S3 server, from both databases."""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mcp_orchestrator.errors import BackendUnavailableError, InvalidInputError
from mcp_orchestrator.saga import SagaEngine
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.segments import (
    Bucket,
    Destination,
    Folder,
    SegmentFormat,
    export_segments,
)
from tests.conftest import require
from tests.contract.test_audit_anchors import run_sagas
from tests.services.s3_server import S3Server, start_s3


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = require(lambda: start_s3(tmp_path_factory.mktemp("s3")))
    yield server
    server.stop()


class Place:
    """A destination, and what a reader finds there."""

    def __init__(self, destination: Destination, read: Callable[[str], bytes]) -> None:
        self.destination = destination
        self._read = read

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for name in sorted(self.destination.names()):
            data: bytes = self._read(name)
            if name.endswith(".parquet"):
                parquet: Any = import_module("pyarrow.parquet")
                found.extend(parquet.read_table(io.BytesIO(data)).to_pylist())
            else:
                found.extend(json.loads(line) for line in data.splitlines())
        return found


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "folder":
        folder = tmp_path / "trail"
        return Place(Folder(folder), lambda name: (folder / name).read_bytes())
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.settings.items():
        monkeypatch.setenv(name, value)
    client: Any = import_module("boto3").client("s3")
    bucket = f"trail-{abs(hash(str(tmp_path)))}"
    client.create_bucket(Bucket=bucket)

    def read(name: str) -> bytes:
        body: bytes = client.get_object(Bucket=bucket, Key=name)["Body"].read()
        return body

    return Place(Bucket(f"s3://{bucket}/audit"), read)


class DiedError(Exception):
    """The exporter was killed."""


class Interrupted:
    """A destination whose process dies before its second segment."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._left = 1

    def names(self) -> Iterable[str]:
        return self._destination.names()

    def put(self, name: str, data: bytes) -> None:
        if self._left == 0:
            raise DiedError
        self._left -= 1
        self._destination.put(name, data)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
async def test_every_event_is_exported_once_whatever_interrupts(
    database: Database, engine: SagaEngine, place: Place, form: SegmentFormat
) -> None:
    await run_sagas(engine, 3)
    with pytest.raises(DiedError):
        await export_segments(database, Interrupted(place.destination), form, largest=5)
    assert len(place.events()) == 5
    await export_segments(database, place.destination, form, largest=5)
    await run_sagas(engine, 1)
    assert await export_segments(database, place.destination, form) > 0
    assert await export_segments(database, place.destination, form) == 0
    async with database.read() as connection:
        query = text("SELECT id, saga_id, hash, event_data FROM saga_audit_logs ORDER BY id")
        rows = (await connection.execute(query)).all()
    events = place.events()
    assert [(e["id"], e["saga_id"], e["hash"]) for e in events] == [tuple(row[:3]) for row in rows]
    for event, row in zip(events, rows, strict=True):
        data = event["event_data"]
        assert (json.loads(data) if form == "parquet" else data) == json.loads(row[3])


def test_a_bucket_that_is_not_there_is_said(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BackendUnavailableError, match="nowhere"):
        Bucket("s3://nowhere/x").names()
    with pytest.raises(InvalidInputError, match="names no bucket"):
        Bucket("s3://")
