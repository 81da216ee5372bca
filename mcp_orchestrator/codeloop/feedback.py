"""What a model is told: the questions of the loop, and how an attempt failed (pure).

The quality of the feedback is the bottleneck of self-repair (Olausson et al. 2023), so it holds
the failing assertion, what was expected and what came, and the last frames with their values.
"""

from mcp_orchestrator.agents import Message
from mcp_orchestrator.codeloop.attempt import Attempt
from mcp_orchestrator.codeloop.problem import Problem

_MOST_FAILURES = 3

_CODER = (
    "You write Python. Reply with one Python code block that holds the whole program,"
    " without tests, examples or explanations."
)
_APPROACHES = (
    "Write the simplest program that is correct.",
    "Think of the edge cases first: empty input, one element, negative numbers, repeats.",
    "Follow the analysis below step by step.",
    "Use a plain loop and explicit variables.",
    "Use the standard library where it helps.",
    "Write it as small functions that each do one thing.",
)
#: One exchange that shows the form of a reply: small models then neither explain nor demonstrate.
_EXAMPLE = (
    Message(
        "user",
        "Return the even numbers of a list, in their order.\n"
        "Implement exactly this signature:\ndef evens(numbers: list) -> list:",
    ),
    Message(
        "assistant",
        "```python\ndef evens(numbers: list) -> list:\n"
        "    return [number for number in numbers if number % 2 == 0]\n```",
    ),
)


def analysis_request(problem: Problem) -> tuple[Message, ...]:
    """Ask the reasoning model how to solve the problem."""
    return (
        Message(
            "system",
            "You are a senior engineer. In at most ten short lines, name the algorithm, the"
            " edge cases and the mistakes to avoid. Do not write the program.",
        ),
        Message("user", statement(problem)),
    )


def tests_request(problem: Problem, count: int) -> tuple[Message, ...]:
    """Ask for tests, independently of any program."""
    return (
        Message(
            "system",
            f"You write tests. Reply with one Python code block of {count} functions named"
            " test_…, each with one assert whose expected value you have worked out by hand."
            " Do not write the program itself.",
        ),
        Message("user", statement(problem)),
    )


def first_question(problem: Problem) -> tuple[Message, ...]:
    """Ask for one program in the form that does best when it is asked only once."""
    return (Message("system", _CODER), *_EXAMPLE, Message("user", statement(problem)))


def candidate_request(problem: Problem, analysis: str, number: int) -> tuple[Message, ...]:
    """Ask for one program; each number asks in another form, so that candidates differ.

    What a small model gets right depends on the form of the question more than on chance, so
    forms differ more than temperatures do. The first is asked without the analysis: where that
    misleads, one candidate is free of it.
    """
    more = f"\n\nAnalysis:\n{analysis}" if number > 0 and analysis else ""
    system = Message("system", _CODER)
    match number % 6:
        case 0 if number == 0:
            return first_question(problem)
        case 1:
            return (*_EXAMPLE, Message("user", _in_words(problem) + more))
        case 2:
            return (system, Message("user", statement(problem) + more))
        case 3:
            edge = f"{_in_words(problem)} {_APPROACHES[1]}{more}"
            return (Message("user", edge),)
        case 4:
            begin = f"Write a Python program.\n{statement(problem)}{more}"
            return (Message("user", begin),)
        case _:
            approach = _APPROACHES[number % len(_APPROACHES)]
            return (system, *_EXAMPLE, Message("user", f"{statement(problem)}{more}\n\n{approach}"))


def _in_words(problem: Problem) -> str:
    """State a problem by its words and the head of its function, without its examples."""
    if not problem.signature:
        return statement(problem)
    words = problem.problem.partition(">>>")[0].strip()
    head = problem.signature.strip().removeprefix("def ").rstrip(": ")
    asked = f"{words}\n\nWrite the Python function `{head}`."
    return "\n".join([asked, *_conditions(problem)])


def diagnosis_request(problem: Problem, attempt: Attempt) -> tuple[Message, ...]:
    """Ask the reasoning model why an attempt fails."""
    return (
        Message(
            "system",
            "You find the cause of failing tests. In at most five short lines say what is wrong"
            " in the program and how to change it. Do not write the program.",
        ),
        Message("user", f"{statement(problem)}\n\n{describe(attempt)}"),
    )


def repair_request(problem: Problem, attempt: Attempt, diagnosis: str) -> tuple[Message, ...]:
    """Ask for a mended program."""
    parts = [statement(problem), describe(attempt)]
    if diagnosis:
        parts.append(f"Diagnosis:\n{diagnosis}")
    parts.append("Write the corrected program.")
    return (Message("system", _CODER), Message("user", "\n\n".join(parts)))


def fresh_request(
    problem: Problem, analysis: str, failed: Attempt, number: int
) -> tuple[Message, ...]:
    """Ask for another approach; what failed is named, not shown, so that it does not anchor."""
    parts = [statement(problem)]
    if analysis:
        parts.append(f"Analysis:\n{analysis}")
    if problem.program is not None:
        parts.append(f"The program as it was given:\n```python\n{problem.program.strip()}\n```")
    parts.append(f"An earlier program {failed.summary}. Take a different approach.")
    parts.append(_APPROACHES[number % len(_APPROACHES)])
    return (Message("system", _CODER), Message("user", "\n\n".join(parts)))


def statement(problem: Problem) -> str:
    """Write out the problem with everything that binds its solution."""
    parts = [problem.problem.strip()]
    if problem.signature:
        parts.append(f"Implement exactly this signature:\n{problem.signature.strip()}")
    return "\n".join([*parts, *_conditions(problem)])


def _conditions(problem: Problem) -> list[str]:
    parts: list[str] = []
    if problem.allowed_imports is not None:
        allowed = ", ".join(problem.allowed_imports) or "none"
        parts.append(f"Modules that may be imported: {allowed}.")
    if problem.language_level is not None:
        parts.append(f"It must run on Python {problem.language_level}.")
    if problem.tests and problem.show_tests:
        parts.append(f"It must pass these tests:\n{problem.tests.strip()}")
    return parts


def describe(attempt: Attempt) -> str:
    """Show a program and how it failed."""
    lines = [f"This program is wrong:\n```python\n{attempt.code.strip()}\n```", "What happened:"]
    for failure in attempt.failures[:_MOST_FAILURES]:
        lines.append(f"- {failure.test}: {failure.message.strip()}")
        lines.extend(f"    {frame}" for frame in failure.frames)
    left = len(attempt.failures) - _MOST_FAILURES
    if left > 0:
        lines.append(f"- and {left} more tests failed")
    if not attempt.failures:
        lines.append(f"- {attempt.status}: {attempt.reason or 'no test reported a result'}")
    return "\n".join(lines)
