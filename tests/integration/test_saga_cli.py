"""The commands for sagas and their audit trail, as processes, beside a server that runs them."""

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
from mcp import Client

from mcp_orchestrator.store.engine import Database, open_engine, sqlite_url
from mcp_orchestrator.store.export import export_audit
from tests.services.orchestrator import call, command, connect, environment
from tests.services.waiting import until

WAITING = [
    {
        "name": "book",
        "action": "travel.reserve_flight",
        "arguments": {"origin": "ZRH", "destination": "LIS"},
    },
    {"name": "ask", "action": "saga.wait_for_signal", "arguments": {"signal": "go"}},
]


def run(
    folder: Path, *arguments: str, code: int = 0, settings: dict[str, str] | None = None
) -> str:
    env = {**environment(folder, **(settings or {})), "COLUMNS": "250"}
    done = subprocess.run(
        command(*arguments), env=env, cwd=folder,
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


async def start(client: Client) -> str:
    saga = await call(client, "saga_start", {"name": "trip", "steps": WAITING})
    waiting: str = saga["saga_id"]
    return waiting


async def test_a_saga_is_signalled_and_another_aborted_from_the_command_line(
    tmp_path: Path,
) -> None:
    async with connect("stdio-handshake", tmp_path, {}) as client:
        first, second = await start(client), await start(client)
        assert "signal 'go'" in run(tmp_path, "saga", "signal", first, "go", "--value", '{"n": 1}')
        run(tmp_path, "saga", "abort", second, "--reason", "a test")
        ends = [
            await call(client, "saga_get", {"saga_id": saga, "wait_seconds": 20})
            for saga in (first, second)
        ]
        assert [end["state"] for end in ends] == ["completed", "aborted"]
        assert ends[0]["steps"][1]["result"] == {"n": 1}
        listed = run(tmp_path, "saga", "list", "--state", "aborted")
        assert second in listed
        assert first not in listed
        assert "Every step is completed." in run(tmp_path, "saga", "explain", first)
        assert run(tmp_path, "saga", "show", first, "--graph").startswith("flowchart LR")
        plan = run(tmp_path, "saga", "retry", second, "--reason", "x", "--dry-run")
        assert plan == "run: book, ask\n"
        assert "aborted" in run(tmp_path, "saga", "show", second)
        plan = run(tmp_path, "saga", "retry", second, "--reason", "again", "--skip", 'ask="ok"')
        assert plan.startswith("run: book\nskip: ask\n")
        done = await call(client, "saga_get", {"saga_id": second, "wait_seconds": 20})
        assert done["state"] == "completed"
        assert "manual_retry" in run(tmp_path, "audit", "show", second)
        forked = run(tmp_path, "saga", "fork", first, "ask", "--reason", "once more")
        assert forked.startswith("run: ask\nskip: book\n")
        found = run(tmp_path, "saga", "reconcile", first, "--reason", "who knows")
        assert found == "book: completed; it happened: agrees\n"
        back = ("saga", "rewind", first, "book", "--reason", "another flight")
        assert run(tmp_path, *back, "--dry-run") == "run: book, ask\nundo: book\n"
        assert run(tmp_path, *back).endswith(f"{first}: compensating\n")
        assert run(tmp_path, "audit", "show", first).count("manual_rewind") == 1
    assert "There is no saga" in run(tmp_path, "saga", "show", "nobody", code=2)


async def test_a_person_approves_from_the_command_line(tmp_path: Path) -> None:
    ask = {"name": "ask", "action": "saga.approval", "arguments": {"approval": "budget"}}
    async with connect("stdio-handshake", tmp_path, {}) as client:
        wanted = {"name": "trip", "steps": [WAITING[0], ask]}
        yes, no = [(await call(client, "saga_start", wanted))["saga_id"] for _ in range(2)]
        run(tmp_path, "saga", "approve", yes, "budget", "--reason", "cheap")
        run(tmp_path, "saga", "approve", no, "budget", "--reason", "dear", "--refuse")
        ends = [
            await call(client, "saga_get", {"saga_id": saga, "wait_seconds": 20})
            for saga in (yes, no)
        ]
        assert [end["state"] for end in ends] == ["completed", "failed"]
        assert "refused: dear" in ends[1]["error"]


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    return tmp_path / "orchestrator.db"


async def test_the_trail_is_exported_continued_and_checked(
    tmp_path: Path, database_file: Path
) -> None:
    trail = tmp_path / "trail.jsonl"
    async with connect("stdio-handshake", tmp_path, {}) as client:
        first = await start(client)
        await call(client, "saga_abort", {"saga_id": first, "reason": "done"})
        await call(client, "saga_get", {"saga_id": first, "wait_seconds": 20})
        run(tmp_path, "audit", "export", str(trail))
        with trail.open("a") as file:
            file.write('{"id": 99, "torn')  # a crash in the middle of a line
        await start(client)
    run(tmp_path, "audit", "export", str(trail))
    assert run(tmp_path, "audit", "export", str(trail)).startswith("0 events")
    ids = [json.loads(line)["id"] for line in trail.read_text().splitlines()]
    rows = sqlite3.connect(database_file).execute("SELECT id FROM saga_audit_logs ORDER BY id")
    assert ids == [row[0] for row in rows]
    assert "The audit trail is intact." in run(tmp_path, "audit", "verify")
    assert "is not an export" in run(tmp_path, "audit", "export", str(tmp_path / "bad"), code=2)


@pytest.fixture(autouse=True)
def bad_file(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("something else\n")


async def test_tampering_is_named_and_fails_the_check(tmp_path: Path, database_file: Path) -> None:
    async with connect("stdio-handshake", tmp_path, {}) as client:
        saga_id = await start(client)
        await call(client, "saga_abort", {"saga_id": saga_id, "reason": "done"})
        await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 20})
    with sqlite3.connect(database_file) as connection:
        connection.execute("DROP TRIGGER saga_audit_logs_no_update")
        connection.execute("UPDATE saga_audit_logs SET user_id = 'mallory' WHERE sequence = 2")
    key = tmp_path / "key"
    key.write_text("a secret of at least sixteen bytes")
    signature = run(tmp_path, "audit", "anchor", "--key-file", str(key)).strip()
    assert len(signature) == 64
    assert "Nothing has happened" in run(tmp_path, "audit", "anchor", "--key-file", str(key))
    told = run(tmp_path, "audit", "verify", "--key-file", str(key), code=1)
    assert f"{saga_id} event 2: The event was altered or inserted." in told
    assert "1 faults" in told


async def test_an_export_of_one_saga_has_only_its_events(tmp_path: Path) -> None:
    async with connect("stdio-handshake", tmp_path, {}) as client:
        first, _ = await start(client), await start(client)
    database: Database = open_engine(sqlite_url(tmp_path / "orchestrator.db"))
    assert await export_audit(database, tmp_path / "one.jsonl", saga_id=first) > 0
    lines = (tmp_path / "one.jsonl").read_text().splitlines()
    assert {json.loads(line)["saga_id"] for line in lines} == {first}
    await database.close()


async def test_sagas_are_encrypted_rotated_and_erased_beside_a_server_that_anchors(
    tmp_path: Path, database_file: Path
) -> None:
    master, audit = tmp_path / "master", tmp_path / "audit"
    old, new = "11" * 32, "22" * 32
    master.write_text(old)
    audit.write_text("a secret of at least sixteen bytes")
    keys = {
        "MCP_ORCHESTRATOR_MASTER_KEY_FILE": str(master),
        "MCP_ORCHESTRATOR_AUDIT_KEY_FILE": str(audit),
        "MCP_ORCHESTRATOR_AUDIT_ANCHOR_SECONDS": "1",
    }
    async with connect("stdio-handshake", tmp_path, keys) as client:
        saga_id = await start(client)
        assert "is encrypted under master key" in run(tmp_path, "saga", "show", saga_id, code=2)
        master.write_text(f"{new} {old}")
        assert run(tmp_path, "saga", "rotate-keys", settings=keys).startswith("1 data keys")
        master.write_text(new)
        await call(client, "saga_signal", {"saga_id": saga_id, "signal": "go"})
        done = await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 20})
        assert done["state"] == "completed"
        told = run(tmp_path, "saga", "erase", saga_id, "--reason", "asked for", settings=keys)
        assert "erased" in told
        assert "LIS" not in run(tmp_path, "audit", "show", saga_id, settings=keys)

        async def anchored() -> bool:
            query = "SELECT count(*) FROM saga_anchors"
            return bool(sqlite3.connect(database_file).execute(query).fetchone()[0])

        await until(anchored)
        checked = run(tmp_path, "doctor", settings=keys)
    assert "0 sagas under master key" in checked
    assert "signed every 1 s; event" in checked
    assert "intact" in run(tmp_path, "audit", "verify", settings=keys)
    with sqlite3.connect(database_file) as connection:
        connection.execute("DROP TRIGGER saga_audit_logs_no_delete")
        connection.execute("DELETE FROM saga_audit_logs")
        connection.execute("DELETE FROM saga_checkpoints")
    assert "anchor of events 1 to" in run(tmp_path, "audit", "verify", code=1, settings=keys)


def test_definitions_are_registered_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "trip.json"
    file.write_text(json.dumps({"name": "trip", "version": "3", "steps": WAITING}))
    assert run(tmp_path, "saga", "define", str(file)).startswith("trip 3: ")
    assert run(tmp_path, "saga", "definitions").startswith("trip 3 ")
    file.write_text(json.dumps({"name": "trip", "version": "3", "steps": WAITING[:1]}))
    assert "has other steps" in run(tmp_path, "saga", "define", str(file), code=2)
    file.write_text(json.dumps({"name": "x", "steps": [{"name": "s", "action": "shout"}]}))
    assert "$.steps[0].action" in run(tmp_path, "saga", "define", str(file), code=2)
