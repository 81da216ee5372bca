"""Docker's form of the policy: a seccomp profile in the Open Container Initiative's JSON."""

import errno
from collections.abc import Mapping, Sequence

from mcp_orchestrator.sandbox.seccomp.policy import SyscallPolicy

Json = Mapping[str, object]
_NATIVE = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
    "arm64": "SCMP_ARCH_AARCH64",
}


def docker_profile(policy: SyscallPolicy, machine: str) -> Json:
    """Return the profile for an engine on a processor, such as ``"x86_64"``."""

    def allow_each(name: str, index: int, values: Sequence[int]) -> list[Json]:
        return [_rule([name], "SCMP_ACT_ALLOW", [_condition(index, value)]) for value in values]

    # Where rules of one call overlap, the engine takes the most permissive, so none may.
    other = {"index": 0, "value": max(policy.socket_families), "op": "SCMP_CMP_GT"}
    unchanged_namespaces = {
        "index": 0,
        "value": policy.clone_refused_flags,
        "valueTwo": 0,
        "op": "SCMP_CMP_MASKED_EQ",
    }
    sockets = ("socket", "socketpair")
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": [_NATIVE.get(machine, _NATIVE["x86_64"])],
        "syscalls": [
            _rule(policy.allowed, "SCMP_ACT_ALLOW"),
            _rule(policy.killed, "SCMP_ACT_KILL_PROCESS"),
            _rule(policy.refused, "SCMP_ACT_ERRNO", error=errno.EPERM),
            _rule(policy.absent, "SCMP_ACT_ERRNO", error=errno.ENOSYS),
            *(rule for name in sockets for rule in allow_each(name, 0, policy.socket_families)),
            _rule(sockets, "SCMP_ACT_ERRNO", [other], error=errno.EAFNOSUPPORT),
            _rule(["clone"], "SCMP_ACT_ALLOW", [unchanged_namespaces]),
            *allow_each("prctl", 0, policy.prctl_options),
            *allow_each("ioctl", 1, policy.ioctl_requests),
        ],
    }


def _condition(index: int, value: int) -> Json:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _rule(
    names: Sequence[str], action: str, conditions: Sequence[Json] = (), *, error: int | None = None
) -> Json:
    rule: dict[str, object] = {"names": list(names), "action": action}
    if conditions:
        rule["args"] = list(conditions)
    if error is not None:
        rule["errnoRet"] = error
    return rule
