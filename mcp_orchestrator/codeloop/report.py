"""What a loop hands over: the program, and the account of how it came about (pure)."""

import difflib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from mcp_orchestrator.codeloop.attempt import Attempt
from mcp_orchestrator.codeloop.problem import Problem
from mcp_orchestrator.codeloop.spend import Spend


class LoopResult(BaseModel):
    """The outcome of a loop.

    ``tests`` decided; ``more_tests`` a model wrote, besides, to choose among programs that pass.
    """

    model_config = ConfigDict(frozen=True)

    solved: bool
    stop_reason: str
    code: str
    tests: str
    tests_generated: bool
    more_tests: str = ""
    best: int | None
    attempts: list[Attempt]
    analysis: str
    spend: Spend
    patch: str = ""
    delivered_to: str | None = None


def write_report(problem: Problem, result: LoopResult) -> str:
    """Return the account of a loop as Markdown."""
    outcome = "Solved" if result.solved else "Not solved"
    lines = [
        f"# {outcome}: {result.stop_reason}",
        "",
        "## Problem",
        problem.problem.strip(),
        "",
        f"## Attempts ({len(result.attempts)})",
        *(f"{attempt.number + 1}. {describe(attempt)}" for attempt in result.attempts),
        "",
        "## Spent",
        describe_spend(result.spend),
        "",
        "## Tests" + (" (generated, not the user's)" if result.tests_generated else ""),
        f"```python\n{result.tests.strip()}\n```",
        *_more_tests(result),
        "",
        "## Program",
        f"```python\n{result.code.strip()}\n```",
    ]
    changes = repair_diffs(result.attempts)
    if changes:
        lines += ["", "## What the repairs changed", f"```diff\n{changes}\n```"]
    if result.analysis:
        lines += ["", "## Analysis", result.analysis]
    return "\n".join(lines) + "\n"


def _more_tests(result: LoopResult) -> list[str]:
    if not result.more_tests:
        return []
    chosen = [each for each in result.attempts if each.all_passed]
    lines = [f"- attempt {each.number + 1} passes {len(each.agreeing_tests)}" for each in chosen]
    return [
        "",
        "## Generated tests (not the user's; they chose among programs that pass the user's)",
        *lines,
        f"```python\n{result.more_tests.strip()}\n```",
    ]


def approval_question(attempt: Attempt) -> str:
    """Return what a person is asked before a risky program is delivered."""
    rules = f" ({', '.join(attempt.risk_rules)})" if attempt.risk_rules else ""
    return (
        f"The program that {attempt.summary} has a risk score of {attempt.risk_score:g}{rules}."
        " May it be delivered?"
    )


def describe(attempt: Attempt) -> str:
    """Return one line on one attempt."""
    source = f" of attempt {attempt.parent + 1}" if attempt.parent is not None else ""
    return f"{attempt.origin}{source}: {attempt.summary}"


def describe_spend(spend: Spend) -> str:
    """Return one line on what was spent."""
    cost = ", ".join(f"{amount:.6f} {currency}" for currency, amount in spend.cost.items())
    return (
        f"{spend.model_calls} model calls, {spend.input_tokens} tokens in,"
        f" {spend.output_tokens} out, {spend.test_runs} test runs, {spend.seconds:.1f} s"
        + (f", {cost}" if cost else "")
    )


def write_patch(problem: Problem, code: str) -> str:
    """Return the change from the given program as a unified diff; empty where none was given."""
    if problem.program is None:
        return ""
    name = f"{problem.module_name}.py"
    lines = difflib.unified_diff(
        problem.program.splitlines(keepends=True),
        code.splitlines(keepends=True),
        f"a/{name}",
        f"b/{name}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def repair_diffs(attempts: Sequence[Attempt]) -> str:
    """Return unified diffs from each repaired attempt to its repair."""
    by_number = {attempt.number: attempt for attempt in attempts}
    diffs: list[str] = []
    for attempt in attempts:
        parent = by_number.get(attempt.parent) if attempt.parent is not None else None
        if parent is None:
            continue
        diffs.extend(
            difflib.unified_diff(
                parent.code.splitlines(),
                attempt.code.splitlines(),
                f"attempt {parent.number + 1}",
                f"attempt {attempt.number + 1}",
                lineterm="",
            )
        )
    return "\n".join(diffs)
