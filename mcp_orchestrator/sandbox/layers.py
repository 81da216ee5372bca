"""Which isolation really holds, from what a guest sees and from the limits that were taken."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

_SECCOMP_FILTER = 2  # the kernel's SECCOMP_MODE_FILTER


class GuestFacts(BaseModel):
    """What a guest reports of the walls around it, before any foreign code has run.

    Attributes:
        python: the interpreter's version.
        process_id: its own id; 1 means that nothing inside outlives it.
        user_id: the user inside.
        seccomp_mode: 2 when a filter is loaded.
        no_new_privileges: True when no program can gain privileges.
        capabilities: effective and bounding capabilities, as a bit mask.
        interfaces: the network interfaces it sees.
        root_read_only: True when the root file system cannot be written.
        kernel_settings_read_only: the same of ``/proc/sys``.
        languages: what it can run beside Python.
        own_kernel: True when its system calls go to a kernel of its own; the host knows.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    python: str
    process_id: int
    user_id: int
    seccomp_mode: int
    no_new_privileges: bool
    capabilities: int
    interfaces: tuple[str, ...]
    root_read_only: bool
    kernel_settings_read_only: bool
    languages: tuple[str, ...] = ()
    own_kernel: bool = False


def walls(facts: GuestFacts) -> dict[str, bool]:
    """Return each wall by name, and whether the guest found it standing."""
    return {
        "no-network": set(facts.interfaces) <= {"lo"},
        "read-only-root": facts.root_read_only,
        "read-only-kernel-settings": facts.kernel_settings_read_only,
        "no-capabilities": facts.capabilities == 0,
        "unprivileged-user": facts.user_id != 0,
        "no-new-privileges": facts.no_new_privileges,
        _kernel_wall(facts): facts.own_kernel or facts.seccomp_mode == _SECCOMP_FILTER,
        "own-process-tree": facts.process_id == 1,
    }


def _kernel_wall(facts: GuestFacts) -> str:
    """Name what stands between the program and the host's kernel."""
    return "own-kernel" if facts.own_kernel else "system-call-filter"


def fallen(facts: GuestFacts) -> tuple[str, ...]:
    """Return the walls that do not stand; with any of them, nothing may be run."""
    return tuple(name for name, stands in walls(facts).items() if not stands)


def held(facts: GuestFacts, limits: Iterable[str]) -> tuple[str, ...]:
    """Return the names of everything that holds: the walls, then the limits."""
    return (*(name for name, stands in walls(facts).items() if stands), *limits)
