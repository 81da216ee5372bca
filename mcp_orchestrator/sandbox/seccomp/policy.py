"""The policy file as data."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

#: Calls whose arguments decide.
CONDITIONAL = ("socket", "socketpair", "clone", "prctl", "ioctl")


@dataclass(frozen=True)
class SyscallPolicy:
    """Which system calls are allowed, fatal, refused, or denied to exist; see ``policy.toml``."""

    allowed: tuple[str, ...]
    killed: tuple[str, ...]
    refused: tuple[str, ...]
    absent: tuple[str, ...]
    socket_families: tuple[int, ...]
    clone_refused_flags: int
    prctl_options: tuple[int, ...]
    ioctl_requests: tuple[int, ...]

    def treatment(self, name: str) -> str:
        """Return what happens to a call: allowed, conditional, killed, refused, absent, unnamed."""
        lists = {
            "allowed": self.allowed,
            "conditional": CONDITIONAL,
            "killed": self.killed,
            "refused": self.refused,
            "absent": self.absent,
        }
        return next((treatment for treatment, names in lists.items() if name in names), "unnamed")


class _PolicyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    allowed: str
    killed: str
    refused: str
    absent: str
    socket_families: list[int]
    clone_refused_flags: int
    prctl_options: list[int]
    ioctl_requests: list[int]


def parse_policy(text: str) -> SyscallPolicy:
    """Read a policy from TOML.

    Raises:
        ValueError: the file is malformed, or names one call twice.
    """
    raw = _PolicyFile.model_validate(tomllib.loads(text))
    names = " ".join((raw.allowed, raw.killed, raw.refused, raw.absent)).split()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"named twice in the system-call policy: {', '.join(twice)}")
    return SyscallPolicy(
        allowed=tuple(raw.allowed.split()),
        killed=tuple(raw.killed.split()),
        refused=tuple(raw.refused.split()),
        absent=tuple(raw.absent.split()),
        socket_families=tuple(raw.socket_families),
        clone_refused_flags=raw.clone_refused_flags,
        prctl_options=tuple(raw.prctl_options),
        ioctl_requests=tuple(raw.ioctl_requests),
    )


@cache
def load_policy() -> SyscallPolicy:
    """Read the policy that comes with the package."""
    source = files("mcp_orchestrator.sandbox.seccomp").joinpath("policy.toml")
    return parse_policy(source.read_text(encoding="utf-8"))
