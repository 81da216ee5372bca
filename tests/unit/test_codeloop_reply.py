"""Finding the program in what a model wrote."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_orchestrator.codeloop.reply import extract_code, imported_modules, newer_syntax

PROGRAM = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    "reply",
    [
        f"```python\n{PROGRAM}```",
        f"Here it is:\n\n```py\n{PROGRAM}```\nIt adds one.",
        f"```\n{PROGRAM}\n```",
        PROGRAM,
        f"```bash\npip install x\n```\n```python\n{PROGRAM}```",
        f"```python\n{PROGRAM}",
        f"```python\n{PROGRAM}def g(x):\n    return (x +",
    ],
    ids=["fenced", "with words", "no language", "bare", "shell first", "no end", "cut off"],
)
def test_the_program_is_found(reply: str) -> None:
    assert extract_code(reply).strip() == PROGRAM.strip()


def test_of_several_programs_the_longest_that_parses_is_taken() -> None:
    longer = "def g(x):\n    y = x * 2\n    return y\n"
    broken = "def h(:\n" + "    # padding\n" * 9
    reply = f"```python\n{PROGRAM}```\n```python\n{longer}```\n```python\n{broken}```"
    assert extract_code(reply) == longer


@pytest.mark.parametrize("reply", ["", "I cannot do that.", "It is 4 + 5."])
def test_words_are_not_a_program(reply: str) -> None:
    assert extract_code(reply) == ""


@given(st.text(max_size=400))
def test_whatever_a_model_writes_is_read_without_an_error(reply: str) -> None:
    extract_code(reply)
    fenced = extract_code(f"```python\n{PROGRAM}```\n{reply.replace('```', '')}")
    ast.parse(fenced)


def test_imports_are_named_by_their_top_level_module() -> None:
    code = "import os.path\nfrom collections import abc\nfrom . import x\n"
    assert imported_modules(code) == {"os", "collections"}
    assert imported_modules("def (") == set()


@pytest.mark.parametrize(
    ("code", "level", "named"),
    [
        ("match 1:\n    case 1:\n        pass\n", "3.9", "Pattern matching"),
        ("match 1:\n    case 1:\n        pass\n", "3.10", ""),
        ("try:\n    pass\nexcept* ValueError:\n    pass\n", "3.10", "Exception groups"),
        ("if (x := 1):\n    pass\n", "3.8", ""),
        ("this is no program", "3.8", ""),
    ],
)
def test_syntax_that_is_too_new_is_named(code: str, level: str, named: str) -> None:
    found = newer_syntax(code, level)
    assert found.startswith(named)
    assert bool(found) is bool(named)
