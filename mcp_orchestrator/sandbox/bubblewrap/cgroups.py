"""Control groups, version 1 or 2, whichever may be written: one group for each sandbox.

Only the standard library is imported here: the launcher uses it.
"""

import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

_CPU_PERIOD = 100_000  # microseconds
_UNIFIED = ""  # the one hierarchy of version 2 in our tables


@dataclass(frozen=True)
class Allowance:
    """What one group may use.

    Attributes:
        memory_bytes: memory of all its processes, files in memory included.
        processes: processes and threads at the same time.
        cpus: processors' worth of time.
    """

    memory_bytes: int
    processes: int
    cpus: float


@dataclass
class Hierarchies:
    """Where groups can be made: a parent folder for each controller (one for all in version 2)."""

    parents: dict[str, Path] = field(default_factory=dict[str, Path])
    unified: bool = False

    @property
    def controllers(self) -> tuple[str, ...]:
        """The controllers that can be used, sorted."""
        return tuple(sorted(self.parents))

    def create(self, name: str) -> "Group":
        """Make an empty group in every hierarchy."""
        folders = {controller: parent / name for controller, parent in self.parents.items()}
        for folder in set(folders.values()):
            folder.mkdir(exist_ok=True)
        return Group(folders, unified=self.unified)


class Group:
    """One sandbox's group."""

    def __init__(self, folders: dict[str, Path], *, unified: bool) -> None:
        self._folders = folders
        self._unified = unified

    def as_message(self) -> dict[str, object]:
        """Return what the server needs to look into the group itself."""
        folders = {controller: str(folder) for controller, folder in self._folders.items()}
        return {"folders": folders, "unified": self._unified}

    def join(self) -> None:
        """Move the calling process into the group."""
        for folder in set(self._folders.values()):
            _write(folder / "cgroup.procs", "0")

    def doors(self) -> list[int]:
        """Open the files that move whoever writes ``0`` to them into the group, by our right."""
        return [
            os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            for folder in set(self._folders.values())
        ]

    def limit(self, allowance: Allowance) -> list[str]:
        """Set the limits and return the controllers that took them."""
        held: list[str] = []
        for controller in self._folders:
            with contextlib.suppress(OSError):
                getattr(self, f"_limit_{controller}")(allowance)
                held.append(controller)
        return held

    def _limit_memory(self, allowance: Allowance) -> None:
        folder, most = self._folders["memory"], str(allowance.memory_bytes)
        if self._unified:
            _write(folder / "memory.max", most)
            with contextlib.suppress(OSError):  # absent without swap accounting
                _write(folder / "memory.swap.max", "0")
            return
        with contextlib.suppress(OSError):  # refused when above the limit with swap: set that first
            _write(folder / "memory.limit_in_bytes", most)
        with contextlib.suppress(OSError):  # absent without swap accounting
            _write(folder / "memory.memsw.limit_in_bytes", most)
        _write(folder / "memory.limit_in_bytes", most)
        with contextlib.suppress(OSError):  # busy or absent: the peak is then of the worker's life
            _write(folder / "memory.max_usage_in_bytes", "0")

    def _limit_pids(self, allowance: Allowance) -> None:
        _write(self._folders["pids"] / "pids.max", str(allowance.processes))

    def _limit_cpu(self, allowance: Allowance) -> None:
        folder, quota = self._folders["cpu"], int(allowance.cpus * _CPU_PERIOD)
        if self._unified:
            _write(folder / "cpu.max", f"{quota} {_CPU_PERIOD}")
            return
        _write(folder / "cpu.cfs_period_us", str(_CPU_PERIOD))
        _write(folder / "cpu.cfs_quota_us", str(quota))

    def usage(self) -> dict[str, int]:
        """Return what the group has met so far: kills for memory, refused forks, peak memory."""
        memory, pids = self._folders.get("memory"), self._folders.get("pids")
        events = "memory.events" if self._unified else "memory.oom_control"
        peak = "memory.peak" if self._unified else "memory.max_usage_in_bytes"
        found: dict[str, int] = {}
        if memory is not None:
            found["oom_kills"] = _counter(memory / events, "oom_kill")
            found["peak_memory_bytes"] = _number(memory / peak)
        if pids is not None:
            found["refused_forks"] = _counter(pids / "pids.events", "max")
        return {name: value for name, value in found.items() if value >= 0}

    def remove(self) -> bool:
        """Kill whatever is left and delete the group; False when it is still busy."""
        gone = True
        for folder in set(self._folders.values()):
            for process_id in _processes(folder):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process_id, signal.SIGKILL)
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone


def _write(path: Path, text: str) -> None:
    """Write one value; a text file would cost as much again."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _processes(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return -1


def _counter(path: Path, name: str) -> int:
    try:
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        return -1
    return -1


def find_hierarchies(
    prefix: str, *, mounts: str = "/proc/self/mountinfo", own: str = "/proc/self/cgroup"
) -> Hierarchies:
    """Find where groups can be made; what cannot be used is simply absent.

    Args:
        prefix: how the groups will be named; folders so named of dead owners are removed.
        mounts: the file that lists the mounts.
        own: the file that lists the groups this process is in.
    """
    paths = _own_groups(Path(own))
    unified: tuple[Path, str] | None = None
    found = Hierarchies()
    for point, kind, controllers in _cgroup_mounts(Path(mounts)):
        if kind == "cgroup2":
            unified = (point, paths.get(_UNIFIED, "/"))
            continue
        for controller in {"memory", "pids", "cpu"} & controllers:
            parent = _usable(point, paths.get(controller, "/"), prefix)
            if parent is not None:
                found.parents[controller] = parent
    if not found.parents and unified is not None:
        return _find_unified(*unified, prefix)
    return found


def _own_groups(path: Path) -> dict[str, str]:
    groups: dict[str, str] = {}
    for line in path.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), group))
    return groups


def _cgroup_mounts(path: Path) -> list[tuple[Path, str, set[str]]]:
    """Return mount point, file system type and options of every control group mount."""
    mounts: list[tuple[Path, str, set[str]]] = []
    for line in path.read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            mounts.append((Path(before.split(" ")[4]), kind, set(options.split(","))))
    return mounts


def _ancestors(point: Path, group: str) -> list[Path]:
    """Return the group's folder and those above it, up to the mount point."""
    folder = point / group.lstrip("/")
    return [each for each in (folder, *folder.parents) if each == point or point in each.parents]


def _usable(point: Path, group: str, prefix: str) -> Path | None:
    """Return the nearest folder, from our own group upwards, in which a group can be made."""
    for folder in _ancestors(point, group):
        if _try_group(folder, prefix, "cgroup.procs"):
            return folder
    return None


def _find_unified(point: Path, group: str, prefix: str) -> Hierarchies:
    """Find a folder of version 2 whose children have controllers; enable them where we may."""
    for folder in _ancestors(point, group):
        with contextlib.suppress(OSError):  # busy with processes of its own, or not ours
            (folder / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        controllers = _words(folder / "cgroup.subtree_control") & {"memory", "pids", "cpu"}
        if {"memory", "pids"} <= controllers and _try_group(folder, prefix, "memory.max"):
            return Hierarchies(dict.fromkeys(controllers, folder), unified=True)
    return Hierarchies(unified=True)


def _words(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except OSError:
        return set()


def _try_group(folder: Path, prefix: str, needed: str) -> bool:
    """Make a group, see that a process can be moved into it, and remove it again."""
    _remove_strays(folder, prefix)
    trial = folder / f"{prefix}{os.getpid()}-trial"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        return os.access(trial / needed, os.W_OK) and _can_move(trial)
    finally:
        with contextlib.suppress(OSError):
            trial.rmdir()


def _can_move(group: Path) -> bool:
    process_id = os.fork()
    if process_id == 0:
        try:
            (group / "cgroup.procs").write_text("0")
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(process_id, 0)[1] == 0


def _remove_strays(folder: Path, prefix: str) -> None:
    """Remove groups whose owner was killed before it could."""
    with contextlib.suppress(OSError):
        for stray in folder.glob(f"{prefix}*"):
            owner = stray.name.removeprefix(prefix).partition("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                with contextlib.suppress(OSError):
                    stray.rmdir()
