"""Choosing where control groups are made; version 2 as a tree of files, since hosts have one or
the other."""

from pathlib import Path

from mcp_orchestrator.sandbox.bubblewrap.cgroups import Allowance, Group, find_hierarchies


def test_limits_and_usage_of_version_2_go_to_the_right_files(tmp_path: Path) -> None:
    group = Group(dict.fromkeys(("memory", "pids", "cpu"), tmp_path), unified=True)
    assert group.limit(Allowance(1000, 7, 0.5)) == ["memory", "pids", "cpu"]
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {
        "memory.max": "1000", "memory.swap.max": "0", "pids.max": "7", "cpu.max": "50000 100000",
    }  # fmt: skip
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
    (tmp_path / "memory.peak").write_text("900\n")
    (tmp_path / "pids.events").write_text("max 3\n")
    assert group.usage() == {"oom_kills": 2, "peak_memory_bytes": 900, "refused_forks": 3}


def test_what_cannot_be_read_is_absent(tmp_path: Path) -> None:
    group = Group(dict.fromkeys(("memory", "pids"), tmp_path), unified=False)
    assert group.usage() == {}


def test_without_a_writable_hierarchy_there_is_none(tmp_path: Path) -> None:
    mounts, own = tmp_path / "mountinfo", tmp_path / "cgroup"
    point = tmp_path / "cgroup-mount"
    mounts.write_text(f"30 1 0:1 / {point} rw - cgroup2 cgroup2 rw\n")
    own.write_text("0::/user.slice/app.scope\n")
    found = find_hierarchies("mcpo-", mounts=str(mounts), own=str(own))
    assert found.parents == {}
