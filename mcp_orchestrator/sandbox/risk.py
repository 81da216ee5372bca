"""The static risk score: what a program reaches for, and how much of itself it hides.

It is advice, never the wall: isolation holds whatever the score. Two axes, each
100 * (1 - product of (1 - w)) over the weights w of the rules that fired, once each; the score is
the same over both.
"""

import ast
import re

from mcp_orchestrator.sandbox.risk_report import RiskFinding, RiskReport, combine
from mcp_orchestrator.sandbox.risk_rules import Inspector

#: A declared encoding, as the interpreter looks for it in the first two lines.
_ENCODING = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)
_PLAIN_ENCODINGS = ("utf-8", "utf8", "ascii", "us-ascii", "latin-1", "iso-8859-1")
#: Characters that change the order in which text is shown.
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")

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
    if _hides_its_text(code):
        inspector.note("source-encoding", tree, "its text is not what it looks like")
    findings = tuple(sorted(inspector.findings, key=lambda each: (each.line, each.rule)))
    return RiskReport(
        score=combine(findings),
        capability=combine(each for each in findings if each.axis == "capability"),
        opacity=combine(each for each in findings if each.axis == "opacity"),
        findings=findings,
    )


def _hides_its_text(code: str) -> bool:
    declared = _ENCODING.search("\n".join(code.split("\n", 2)[:2]))
    encoding = declared[1].lower().replace("_", "-") if declared else "utf-8"
    return encoding not in _PLAIN_ENCODINGS or _REORDERING.search(code) is not None
