"""The escape suite as a function: every attempt on this machine, and which layer held what."""

import os
import platform
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from mcp_orchestrator.sandbox.artifacts import ARTIFACT_LIMITS, Artifact
from mcp_orchestrator.sandbox.escapes import ESCAPED, Attempt, attempts
from mcp_orchestrator.sandbox.request import MEBIBYTE, ExecutionRequest, Limits
from mcp_orchestrator.sandbox.result import ExecutionResult, RunStatus
from mcp_orchestrator.sandbox.sandbox import Sandbox

_LIMITS = replace(Limits(), wall_seconds=3.0)
_BOMB_LIMITS = replace(
    _LIMITS, wall_seconds=2.0, memory_bytes=128 * MEBIBYTE, processes=24, disk_bytes=16 * MEBIBYTE
)
_FORGED_EXIT_CODE = 3
_SECRET = b"not for you"


@dataclass(frozen=True)
class AttemptResult:
    """What became of one attempt.

    Attributes:
        attempt: what was tried.
        held: True when the sandbox held.
        detail: the status and reason of the run.
    """

    attempt: Attempt
    held: bool
    detail: str


async def selftest(sandbox: Sandbox) -> AsyncGenerator[AttemptResult]:
    """Try every escape, one after the other, and say of each whether the sandbox held.

    Args:
        sandbox: one whose risk policy lets the attempts run when ``allow_risky`` is set.

    Raises:
        SandboxUnavailableError: no isolation can be had.
    """
    descriptor, secret = tempfile.mkstemp(prefix="mcpo-secret-")
    try:
        os.write(descriptor, _SECRET)
        for attempt in attempts(secret, platform.machine()):
            yield await _try(sandbox, attempt)
    finally:
        os.close(descriptor)
        os.unlink(secret)  # noqa: PTH108 — a file of a moment


async def _try(sandbox: Sandbox, attempt: Attempt) -> AttemptResult:
    limits = _BOMB_LIMITS if attempt.bomb else _LIMITS
    result = await sandbox.run(ExecutionRequest(attempt.code, limits=limits, allow_risky=True))
    detail = f"{result.status.value}: {result.reason}"
    return AttemptResult(attempt, _held(attempt, result), detail)


def _held(attempt: Attempt, result: ExecutionResult) -> bool:
    if attempt.layer == "artifact-intake":
        return _are_harmless(result.artifacts) and result.status is RunStatus.OK
    if ESCAPED in result.stdout:
        return False
    if attempt.name.startswith("forge a final frame"):
        return result.exit_code == _FORGED_EXIT_CODE
    if attempt.bomb:
        return result.status is not RunStatus.OK
    return result.status in {RunStatus.OK, RunStatus.ERROR, RunStatus.FORBIDDEN_SYSCALL}


def _are_harmless(artifacts: Sequence[Artifact]) -> bool:
    """Tell whether all came from the program itself, under plain names and within the limits."""
    total = sum(each.size_bytes for each in artifacts)
    return (
        len(artifacts) <= ARTIFACT_LIMITS["files"]
        and total <= ARTIFACT_LIMITS["total_bytes"]
        and all(
            each.content.strip() in {b"", b"x"}
            and each.path.isprintable()
            and ".." not in PurePosixPath(each.path).parts
            for each in artifacts
        )
    )
