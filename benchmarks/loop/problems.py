"""A fixed, seeded choice of HumanEval's problems, as problems for the loop."""

import ast
import random
from dataclasses import dataclass

from mcp_orchestrator.codeloop import Budget, Problem
from tests.services.human_eval import HumanEvalProblem, read_problems

#: The model is small: it is asked about the half of the problems with the shorter texts.
POOL = 82
#: The prompts were chosen on these many; they are never measured.
USED_FOR_TUNING = 24
_TUNING_SEED = 7


@dataclass(frozen=True)
class Task:
    """One problem: its words, its head and the tests that decide."""

    task_id: str
    words: str
    signature: str
    tests: str

    def problem(self, *, calls: int, candidates: int, reply_tokens: int) -> Problem:
        """Return it as the loop is asked for it."""
        return Problem(
            problem=self.words,
            signature=self.signature,
            tests=self.tests,
            show_tests=False,
            analyse=False,
            candidates=candidates,
            repairs=1,
            fresh_starts=calls,
            budget=Budget(model_calls=calls, reply_tokens=reply_tokens),
        )


def choose(count: int, seed: int) -> list[Task]:
    """Return problems that were not used for tuning, the same ones for the same seed."""
    short = sorted(read_problems(), key=lambda it: len(it["prompt"]))[:POOL]
    names = [each["task_id"] for each in short]
    tuned = set(random.Random(_TUNING_SEED).sample(names, USED_FOR_TUNING))
    rest = [each for each in short if each["task_id"] not in tuned]
    return [_task(each) for each in random.Random(seed).sample(rest, count)]


def _task(given: HumanEvalProblem) -> Task:
    name = given["entry_point"]
    function = next(
        each
        for each in ast.parse(given["prompt"]).body
        if isinstance(each, ast.FunctionDef) and each.name == name
    )
    lines = given["prompt"].splitlines()
    signature = next(line for line in lines if line.startswith(f"def {name}"))
    tests = f"from solution import {name}\n{given['test']}\ndef test_all():\n    check({name})\n"
    return Task(given["task_id"], ast.get_docstring(function) or "", signature, tests)
