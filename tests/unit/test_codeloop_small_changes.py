"""Programs one small change away from a program."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_orchestrator.codeloop.small_changes import small_changes


@pytest.mark.parametrize(
    ("wrong", "right", "note"),
    [
        (
            "def f(a, b):\n    return a - b",
            "def f(a, b):\n    return a + b",
            "`a - b` became `a + b`",
        ),
        ("def f(a):\n    return a < 3", "def f(a):\n    return a <= 3", "`a < 3` became `a <= 3`"),
        ("def f(a):\n    return a < 3", "def f(a):\n    return a < 4", "`3` became `4`"),
        ("def f(a, b):\n    return a", "def f(a, b):\n    return b", "`a` became `b`"),
        ("def f(a, b):\n    return a and b", "def f(a, b):\n    return a or b", "a or b"),
        ("def f():\n    return True", "def f():\n    return False", "`True` became `False`"),
        (
            "def f(a):\n    if a:\n        return 1\n    return 2",
            "def f(a):\n    if not a:\n        return 1\n    return 2",
            "line 2",
        ),
        (
            "def f(a):\n    for x in a:\n        a += x\n        return a",
            "def f(a):\n    for x in a:\n        a += x\n    return a",
            "line 1",
        ),
    ],
)
def test_the_right_program_is_among_them_and_the_change_is_named(
    wrong: str, right: str, note: str
) -> None:
    notes = {change.code: change.note for change in small_changes(wrong)}
    assert note in notes[right + "\n"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.sampled_from(["x = 1", "x += y", "if x < 2:\n    x = y\n    y = 3", "y = not x", "x ="]),
        max_size=6,
    ).map("\n".join)
)
def test_each_is_another_program_that_can_be_parsed(code: str) -> None:
    changes = [change.code for change in small_changes(code)]
    assert len(changes) == len(set(changes))
    for change in changes:
        assert ast.dump(ast.parse(change)) != ast.dump(ast.parse(code))
