"""The risk report: findings, and the score that they combine to."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

Axis = Literal["capability", "opacity"]


@dataclass(frozen=True)
class RiskFinding:
    """One rule that fired.

    Attributes:
        rule: the rule's id.
        axis: capability (what it reaches for) or opacity (what it hides).
        weight: between 0 and 1.
        line: where in the code, counted from 1.
        message: what was seen, in words.
    """

    rule: str
    axis: Axis
    weight: float
    line: int
    message: str


@dataclass(frozen=True)
class RiskReport:
    """The score of a program, with its reasons.

    Attributes:
        score: 0 to 100 over both axes.
        capability: 0 to 100 for what it reaches for.
        opacity: 0 to 100 for what it hides.
        findings: the rules that fired, by line.
    """

    score: int = 0
    capability: int = 0
    opacity: int = 0
    findings: tuple[RiskFinding, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """The ids of the rules that fired, each once."""
        return tuple(sorted({finding.rule for finding in self.findings}))


def combine(findings: Iterable[RiskFinding]) -> int:
    """Return 100 * (1 - product of (1 - w)), counting each rule once with its greatest weight."""
    weights: dict[str, float] = {}
    for finding in findings:
        weights[finding.rule] = max(weights.get(finding.rule, 0.0), finding.weight)
    left = reduce(lambda product, weight: product * (1 - weight), weights.values(), 1.0)
    return round(100 * (1 - left))
