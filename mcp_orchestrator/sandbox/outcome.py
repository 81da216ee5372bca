"""Why a run ended: one pure function over everything that was seen of it."""

import signal
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from mcp_orchestrator.sandbox.port import Usage
from mcp_orchestrator.sandbox.request import MEBIBYTE, Limits
from mcp_orchestrator.sandbox.result import RunStatus

_LITTLE_SPACE = 2 * 4096  # less than two pages free counts as full


class GuestOutcome(BaseModel):
    """How the program ended, as its supervisor saw it.

    Attributes:
        exit_code: its exit code, if it ended by itself.
        signal: the signal that ended it, if one did.
        timed_out: True when the supervisor ended it at its deadline.
        duration_seconds: from fork to end.
        cpu_seconds: processor time of all processes.
        largest_process_bytes: the most memory that one process held.
        disk_free_bytes: what was left where it could write.
        stdout_bytes: all that it wrote to stdout; likewise ``stderr_bytes``.
        oom_kills: processes killed for memory, where the guest can see its control group.
        refused_forks: processes refused, likewise.
        peak_memory_bytes: the most memory of all processes together, likewise.
        artifacts_omitted: files that were left out, by path, and why.
        alive: True when a session goes on.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    exit_code: int | None
    signal: int | None
    timed_out: bool
    duration_seconds: float
    cpu_seconds: float
    largest_process_bytes: int
    disk_free_bytes: int
    stdout_bytes: int
    stderr_bytes: int
    oom_kills: int | None = None
    refused_forks: int | None = None
    peak_memory_bytes: int | None = None
    artifacts_omitted: tuple[tuple[str, str], ...] = ()
    alive: bool = False

    def usage(self) -> Usage:
        """Return what the guest saw of its own control group."""
        return Usage(self.oom_kills, self.refused_forks, self.peak_memory_bytes)


@dataclass(frozen=True)
class Ending:
    """The status of a run and the reason in words."""

    status: RunStatus
    reason: str


def judge(
    outcome: GuestOutcome | None, usage: Usage, limits: Limits, stderr: str, *, overdue: bool
) -> Ending:
    """Name the reason of an ending.

    Args:
        outcome: the supervisor's word; None when it could not give one.
        usage: what was seen from outside.
        limits: what the run was allowed.
        stderr: the end of its error output, for limits that show nowhere else.
        overdue: True when the host had to end it.
    """
    seconds = f"{limits.wall_seconds:g} s"
    if overdue or (outcome is not None and outcome.timed_out):
        return Ending(RunStatus.TIMEOUT, f"It ran longer than {seconds} and was killed.")
    if outcome is not None and outcome.exit_code == 0:
        return Ending(RunStatus.OK, "It ended by itself with exit code 0.")
    memory = f"{limits.memory_bytes // MEBIBYTE} MiB"
    if usage.oom_kills:
        return Ending(RunStatus.OUT_OF_MEMORY, f"It needed more than {memory} and was killed.")
    if outcome is None:
        return Ending(RunStatus.KILLED, "The sandbox ended before it could report.")
    if outcome.signal is not None:
        return _judge_signal(outcome.signal, limits)
    return _judge_exit(outcome, usage, limits, stderr)


def _judge_signal(number: int, limits: Limits) -> Ending:
    if number == signal.SIGXCPU:
        used = f"It used more than {limits.cpu_seconds:g} s of processor time and was killed."
        return Ending(RunStatus.TIMEOUT, used)
    if number == signal.SIGSYS:
        forbidden = "It asked the kernel for something that is forbidden here and was killed."
        return Ending(RunStatus.FORBIDDEN_SYSCALL, forbidden)
    if number == signal.SIGXFSZ:
        return Ending(RunStatus.DISK_FULL, _disk_reason(limits))
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return Ending(RunStatus.KILLED, f"It was killed by {name}.")


def _judge_exit(outcome: GuestOutcome, usage: Usage, limits: Limits, stderr: str) -> Ending:
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "")
    too_many = ("can't start new thread", "Resource temporarily unavailable", "fork: retry")
    if usage.refused_forks or any(words in stderr for words in too_many):
        reason = f"It started more than {limits.processes} processes and threads."
        return Ending(RunStatus.TOO_MANY_PROCESSES, reason)
    full = ("[Errno 28]", "[Errno 27]", "No space left on device", "File too large")
    if outcome.disk_free_bytes < _LITTLE_SPACE or any(words in last for words in full):
        return Ending(RunStatus.DISK_FULL, _disk_reason(limits))
    if last.startswith("MemoryError"):
        reason = f"It needed more than {limits.memory_bytes // MEBIBYTE} MiB."
        return Ending(RunStatus.OUT_OF_MEMORY, reason)
    said = f": {last[:300]}" if last else "."
    return Ending(RunStatus.ERROR, f"It ended by itself with exit code {outcome.exit_code}{said}")


def _disk_reason(limits: Limits) -> str:
    return f"It wrote more than the {limits.disk_bytes // MEBIBYTE} MiB of disk that it has."
