"""What the risk score decides."""

from dataclasses import dataclass, replace
from enum import StrEnum

from mcp_orchestrator.sandbox.request import MEBIBYTE, Limits
from mcp_orchestrator.sandbox.risk import RiskReport

_STRICT_MEMORY = 128 * MEBIBYTE
_STRICT_PROCESSES = 16
_STRICT_DISK = 16 * MEBIBYTE
_STRICT_SECONDS = 10.0


class Decision(StrEnum):
    """What is done with a program of a given score."""

    RUN = "run"
    RUN_STRICTLY = "run_strictly"
    REFUSE = "refuse"


@dataclass(frozen=True)
class RiskPolicy:
    """From which scores on a program is run strictly, or not at all.

    Attributes:
        strict_from: the least score that asks for tighter limits.
        refuse_from: the least score that is refused, unless the caller allows it.
    """

    strict_from: int = 30
    refuse_from: int = 60

    def decide(self, risk: RiskReport, *, allow_risky: bool) -> Decision:
        """Return what to do with a program."""
        if risk.score >= self.refuse_from and not allow_risky:
            return Decision.REFUSE
        return Decision.RUN_STRICTLY if risk.score >= self.strict_from else Decision.RUN


def tightened(limits: Limits) -> Limits:
    """Return the limits of the stricter profile: never more than was asked for."""
    return replace(
        limits,
        wall_seconds=min(limits.wall_seconds, _STRICT_SECONDS),
        cpu_seconds=min(limits.cpu_seconds, _STRICT_SECONDS),
        memory_bytes=min(limits.memory_bytes, _STRICT_MEMORY),
        processes=min(limits.processes, _STRICT_PROCESSES),
        disk_bytes=min(limits.disk_bytes, _STRICT_DISK),
    )


def refusal(risk: RiskReport, policy: RiskPolicy) -> str:
    """Say why a program was not run, and what the caller can do."""
    worst = sorted(risk.findings, key=lambda each: -each.weight)[:5]
    seen = "; ".join(f"line {each.line}: {each.message} [{each.rule}]" for each in worst)
    return (
        f"Its risk score is {risk.score} of 100, and from {policy.refuse_from} on nothing is run: "
        f"{seen}. Change those lines, or set allow_risky if you know what it does."
    )
