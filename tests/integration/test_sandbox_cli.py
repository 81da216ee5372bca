"""The sandbox's commands, as a user runs them."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.services.docker_engine import DockerServer, root_file_system
from tests.services.orchestrator import command, environment


def run(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command("sandbox", *arguments),
        env=environment(folder, **settings),
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=170,
    )


def test_selftest_holds_on_this_machine_and_names_the_layers(tmp_path: Path) -> None:
    done = run(tmp_path, "selftest", "--backend", "bubblewrap", "--verbose")
    assert done.returncode == 0, done.stdout + done.stderr
    attempts = [line for line in done.stdout.splitlines() if line.startswith("held ")]
    assert len(attempts) >= 100
    assert "ESCAPED" not in done.stdout
    assert "system-call-filter" in done.stdout
    assert f"{len(attempts)} of {len(attempts)} attempts held." in done.stdout


def test_build_makes_an_image_from_a_root_file_system(
    tmp_path: Path, docker_server: DockerServer
) -> None:
    arguments = ("build", "--tag", "built-here:1", "--from-root", str(root_file_system()))
    done = run(tmp_path, *arguments, DOCKER_HOST=docker_server.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("built-here:1 sha256:")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("build", "--from-root", "no-such.tar"), "There is no file no-such.tar"),
        (("build",), "No Docker engine answers at unix:///nowhere/docker.sock"),
        (("build", "--profile", "huge"), "plain or data"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = run(tmp_path, *arguments, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_verify_finds_what_was_tampered_with(tmp_path: Path) -> None:
    empty = run(tmp_path, "verify")
    assert (empty.returncode, empty.stdout) == (0, "Intact.\n"), empty.stderr
    with closing(sqlite3.connect(tmp_path / "orchestrator.db")) as database, database:
        database.execute("INSERT INTO sandbox_run_chains VALUES ('c', 3, 'no such hash')")
    tampered = run(tmp_path, "verify")
    assert tampered.returncode == 1
    assert "chain c, run 1: The end of the chain was cut off." in tampered.stdout
