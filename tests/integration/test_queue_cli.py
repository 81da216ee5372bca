"""The queue, its schedules and its signals from the command line."""

import os
import pty
import re
import signal
import subprocess
from pathlib import Path

from mcp_orchestrator.runtime import open_queue
from mcp_orchestrator.settings import Settings
from tests.services.orchestrator import command, environment

RULE = '{"name":"r","pattern":"a.*","target":{"kind":"task","task_type":"travel.write_itinerary"}}'


def run(folder: Path, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), env=environment(folder, COLUMNS="200"), cwd=folder, input=given,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_schedule_is_added_listed_and_removed(tmp_path: Path) -> None:
    cron = "0 6 * * 1-5"
    added = run(tmp_path, "schedule", "add", "report", cron, "t", "--timezone", "Europe/Zurich")
    assert added.stdout.startswith("report fires first at "), added.stderr
    assert f"report  {cron} (Europe/Zurich)  t" in run(tmp_path, "schedule", "list").stdout
    assert run(tmp_path, "schedule", "remove", "report").returncode == 0
    again = run(tmp_path, "schedule", "remove", "report")
    assert again.returncode == 2
    assert "There is no schedule 'report'." in again.stderr


def test_a_signal_goes_where_a_rule_says(tmp_path: Path) -> None:
    kept = run(tmp_path, "signal", "publish", "a.b", '{"city":"Bern","nights":1}', "--id", "s1")
    assert kept.stdout.splitlines() == ["s1: unrouted"], kept.stderr
    assert "s1  unrouted  a.b" in run(tmp_path, "signal", "unrouted").stdout
    assert run(tmp_path, "signal", "add-rule", "-", given=RULE).returncode == 0
    assert run(tmp_path, "signal", "route", "s1").stdout.splitlines() == ["s1: routed"]
    bad = run(tmp_path, "signal", "add-rule", "-", given='{"name":"r"}')
    assert bad.returncode == 2
    assert "pattern: Field required" in bad.stderr


def test_the_queue_is_steered(tmp_path: Path) -> None:
    limited = run(tmp_path, "queue", "limit", "mail", "--concurrency", "2", "--starts", "60")
    assert limited.returncode == 0, limited.stderr
    assert run(tmp_path, "queue", "pause", "report").returncode == 0
    assert run(tmp_path, "queue", "pause", "LOW").returncode == 0
    shown = run(tmp_path, "queue", "stats").stdout
    assert "0 of 2 running, 0 of 60 started in 60 s" in shown
    assert [line for line in shown.splitlines() if "LOW" in line and "paused" in line]
    assert [line for line in shown.splitlines() if "type report" in line and "paused" in line]
    for what in ("report", "LOW"):
        assert run(tmp_path, "queue", "resume", what).returncode == 0
    assert run(tmp_path, "queue", "limit", "mail").returncode == 0
    assert "paused" not in (again := run(tmp_path, "queue", "stats").stdout)
    assert "started" not in again
    bad = run(tmp_path, "queue", "limit", "mail", "--concurrency", "0")
    assert bad.returncode == 2
    assert "pause the type" in bad.stderr


def test_a_watched_table_shows_what_changes_until_it_is_interrupted(tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    watching = subprocess.Popen(
        command("queue", "stats", "--watch"), cwd=tmp_path,
        env=environment(tmp_path, TERM="xterm", COLUMNS="200"),
        stdin=terminal, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    seen = ""

    def read_until(text: str) -> None:
        nonlocal seen
        while text not in seen:
            seen += os.read(screen, 65536).decode(errors="replace")

    read_until("waiting LOW")
    assert "paused" not in seen
    assert run(tmp_path, "queue", "pause", "LOW").returncode == 0
    read_until("paused")
    watching.send_signal(signal.SIGINT)
    watching.wait(30)
    assert "Traceback" not in seen
    os.close(screen)


async def test_a_dead_task_is_shown_tried_again_and_cancelled(tmp_path: Path) -> None:
    async with open_queue(Settings(data_dir=tmp_path)) as queue:
        added = await queue.add_task("mail", {"to": "Zoë"}, max_retries=0)
        async for message_id, task in queue.consume_tasks("w1"):
            await queue.fail_task(message_id, "no such [address]", task)
            break
    assert added.task_id in run(tmp_path, "queue", "list", "--status", "dead_letter").stdout
    shown = run(tmp_path, "queue", "show", added.task_id).stdout
    for line in (
        "status  +dead_letter",
        "error  +no such \\[address\\]",
        ".*Zoë",
        ".*attempt_failed",
    ):
        assert re.search(f"^{line}", shown, re.MULTILINE), shown
    again = run(tmp_path, "queue", "retry", "--type", "mail")
    assert again.stdout == "1 task will be tried again\n"
    assert run(tmp_path, "queue", "cancel", added.task_id).stdout == f"{added.task_id}: cancelled\n"
    unknown = run(tmp_path, "queue", "show", "task_nowhere")
    assert unknown.returncode == 2
    assert "task_nowhere" in unknown.stderr
