"""The static risk score: what a program reaches for, and how much of itself it hides.

It is advice, never the wall: isolation holds whatever the score. Two axes, each
100 * (1 - product of (1 - w)) over the weights w of the rules that fired, once each; the score is
the same over both.
"""

import ast

from mcp_orchestrator.sandbox.risk_report import RiskFinding, RiskReport, combine
from mcp_orchestrator.sandbox.risk_rules import Inspector

__all__ = ["RiskFinding", "RiskReport", "assess"]


def assess(code: str, language: str = "python") -> RiskReport:
    """Score a program without running it; other languages than Python are not read."""
    if language != "python":
        return RiskReport()
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return RiskReport()  # it will not run either
    inspector = Inspector()
    try:
        inspector.visit(tree)
    except RecursionError:
        inspector.note("deep-nesting", tree, "expressions nested too deeply to be read")
    findings = tuple(sorted(inspector.findings, key=lambda each: (each.line, each.rule)))
    return RiskReport(
        score=combine(findings),
        capability=combine(each for each in findings if each.axis == "capability"),
        opacity=combine(each for each in findings if each.axis == "opacity"),
        findings=findings,
    )
