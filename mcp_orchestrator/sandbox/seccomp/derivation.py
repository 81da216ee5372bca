"""Deriving the system-call policy anew: which calls a program makes, as strace sees them."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mcp_orchestrator.errors import NotFoundError, SandboxUnavailableError
from mcp_orchestrator.sandbox.seccomp.policy import load_policy

_SECONDS = 300
#: A line of strace's: perhaps a process id, then the call's name and its arguments.
_CALL = re.compile(r"^(?:\[pid +)?\d*\]? *([a-z_][a-z0-9_]*)\(", re.MULTILINE)
_HOLDING = ("allowed", "conditional")


@dataclass(frozen=True)
class DerivedPolicy:
    """What a program asked of the kernel.

    Attributes:
        used: the calls it made.
        refused: those that the policy does not allow, each with what happens to it.
    """

    used: frozenset[str]
    refused: Mapping[str, str]


def calls_in(trace: str) -> frozenset[str]:
    """Return the names of the calls in a trace."""
    return frozenset(_CALL.findall(trace))


def compare(used: frozenset[str]) -> DerivedPolicy:
    """Hold calls against the policy that comes with the package."""
    policy = load_policy()
    treatments = {name: policy.treatment(name) for name in used}
    refused = {name: how for name, how in treatments.items() if how not in _HOLDING}
    return DerivedPolicy(used, refused)


def derive(program: Path, interpreter: Path) -> DerivedPolicy:
    """Run a program under strace, outside any sandbox: only programs that are trusted.

    Args:
        program: a Python file.
        interpreter: what runs it.

    Raises:
        NotFoundError: strace or the program is missing.
        SandboxUnavailableError: the program did not end well.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise NotFoundError("strace is not installed.", remedy="`apt-get install strace`.")
    if not program.is_file():
        raise NotFoundError(f"There is no file {program}.", remedy="Name a Python program.")
    with tempfile.TemporaryDirectory(prefix="mcpo-derive-") as folder:
        output = Path(folder, "trace")
        command = [strace, "-f", "-qq", "-e", "signal=none", "-o", str(output)]
        done = subprocess.run(
            [*command, str(interpreter), str(program)],
            cwd=folder, check=False, capture_output=True, text=True, timeout=_SECONDS,
        )  # fmt: skip
        if done.returncode != 0:
            raise SandboxUnavailableError(
                f"{program.name} ended with exit code {done.returncode}: {done.stderr[-500:]}",
                remedy="Derive from a program that runs through.",
            )
        return compare(calls_in(output.read_text(errors="replace")))


def workload_path() -> Path:
    """Return the program that uses much of Python's library."""
    return Path(str(files("mcp_orchestrator.sandbox.seccomp").joinpath("workload.py")))
