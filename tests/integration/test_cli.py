"""The command line, as a process."""

import json
import subprocess
from pathlib import Path

import pytest

from mcp_orchestrator.demo.local_model import INSTALL, is_installed
from tests.conftest import require
from tests.services.orchestrator import command, environment
from tests.services.process import ServiceMissingError


def run(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run the program to its end."""
    return subprocess.run(
        command(*arguments), env=environment(folder, **settings), cwd=folder,
        capture_output=True, text=True, timeout=200, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_doctor_says_that_the_main_job_can_run(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    parts = {part["part"]: part for part in report["parts"]}
    assert parts["sandbox"]["backend"] == "bubblewrap"
    assert parts["store"]["backend"] == "SQLite"
    human = run(tmp_path, "doctor")
    assert "The main job can run." in human.stdout


def test_doctor_fails_where_no_sandbox_can_be_had_and_says_what_to_do(tmp_path: Path) -> None:
    settings = {
        "MCP_ORCHESTRATOR_SANDBOX": "docker", "DOCKER_HOST": f"unix://{tmp_path}/nothing.sock",
    }  # fmt: skip
    done = run(tmp_path, "doctor", "--json", **settings)
    assert done.returncode == 1
    parts = {part["part"]: part for part in json.loads(done.stdout)["parts"]}
    assert not parts["sandbox"]["ok"]
    assert parts["sandbox"]["remedy"]


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        (("serve", "--transport", "pigeon"), {}, "transport"),
        (("serve", "--transport", "http", "--port", "99999"), {}, "port"),
        (("serve", "--transport", "http", "--host", "0.0.0.0"), {}, "host"),
        (("doctor",), {"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        (("doctor",), {"REDIS_URL": "redis://127.0.0.1:9"}, "edis"),
    ],
)
def test_a_bad_setting_is_one_clear_line(
    arguments: tuple[str, ...], settings: dict[str, str], named: str, tmp_path: Path
) -> None:
    done = run(tmp_path, *arguments, **settings)
    assert done.returncode != 0
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_queue_command_looks_into_the_queue(tmp_path: Path) -> None:
    for arguments, said in (
        (("queue", "stats"), "waiting CRITICAL"),
        (("queue", "list"), "priority"),
        (("queue", "retry", "--all"), "0 tasks will be tried again"),
        (("queue", "purge", "--yes"), "0 dead letters forgotten"),
        (("queue", "pause", "travel.write_itinerary"), ""),
        (("queue", "stats"), "travel.write_itinerary"),
        (("queue", "resume", "travel.write_itinerary"), ""),
    ):
        done = run(tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    unknown = run(tmp_path, "queue", "show", "nobody")
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr


def test_spend_sums_what_model_calls_cost(tmp_path: Path) -> None:
    done = run(tmp_path, "spend", "--by", "model", "--days", "1")
    assert done.returncode == 0, done.stderr
    assert "tokens in" in done.stdout


def test_install_shows_the_change_and_keeps_a_backup(tmp_path: Path) -> None:
    dry = run(tmp_path, "install", "claude-desktop", "--dry-run")
    path = tmp_path / ".config" / "Claude" / "claude_desktop_config.json"
    assert str(path) in dry.stdout
    assert not path.exists()
    assert run(tmp_path, "install", "claude-desktop").returncode == 0
    assert "mcp-orchestrator" in json.loads(path.read_text())["mcpServers"]


def _model_is_installed() -> None:
    if not is_installed():
        raise ServiceMissingError(f"the local model is not installed: {INSTALL}")


@pytest.mark.timeout(240)
def test_the_demo_shows_the_whole_job_with_a_real_model(tmp_path: Path) -> None:
    require(_model_is_installed)
    done = run(tmp_path, "demo", "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "Queueing a task", "is pending", "candidate 1: asking", "compensated", "saga_failed",
        "completed: 2262 primes", "def price_range", "It passes all 4 tests", "model calls",
        "install claude-desktop",
    ):  # fmt: skip
        assert said in done.stdout, f"{said!r} is missing:\n{done.stdout}"
