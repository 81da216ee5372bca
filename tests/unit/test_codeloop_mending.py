"""What is put right without asking a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_orchestrator.codeloop.mending import mend


@pytest.mark.parametrize(
    ("code", "added"),
    [
        ("def f(x: List[int]) -> int:\n    return math.floor(sum(x))\n",
         ["from typing import List", "import math"]),
        ("def f(words):\n    return Counter(words)\n", ["from collections import Counter"]),
        ("import re\n\ndef f(x):\n    return re.sub('a', itertools.count(), x)\n",
         ["import itertools"]),
    ],
)  # fmt: skip
def test_missing_imports_are_added(code: str, added: list[str]) -> None:
    mended = mend(code)
    assert mended is not None
    assert mended.code == "".join(f"{line}\n" for line in added) + "\n" + code
    assert list(mended.notes) == [f"added `{line}`" for line in added]


@pytest.mark.parametrize(
    "code",
    [
        "def f(math):\n    return math.pi\n",
        "from typing import *\n\ndef f(x: List[int]): ...\n",
        "import numpy as math\n\ndef f():\n    return math.pi\n",
        "def f(x):\n    return undefined(x)\n",
        "try:\n    import x\nexcept ImportError as re:\n    raise SystemExit(re)\n",
        "def f(:\n",
        "",
    ],
)
def test_what_is_known_or_nobody_knows_is_left_alone(code: str) -> None:
    assert mend(code) is None


def test_an_import_that_is_not_allowed_is_not_added() -> None:
    code = "def f(x: List[int]):\n    return math.pi\n"
    mended = mend(code, ["typing"])
    assert mended is not None
    assert mended.notes == ("added `from typing import List`",)
    assert mend("def f():\n    return os.getcwd()\n", []) is None


def test_a_demonstration_is_left_out_and_the_rest_stays_as_it_was() -> None:
    code = '''"""Adds."""
LIMIT = 3

@staticmethod
def add(a, b):  # adds
    return a + b


for n in range(LIMIT):
    print(add(n, n))
answer = add(input(), 2)
print(answer)
'''
    mended = mend(code)
    assert mended is not None
    assert mended.notes == ("left out what it runs by itself",)
    expected = (
        '"""Adds."""\n\nLIMIT = 3\n\n@staticmethod\ndef add(a, b):  # adds\n    return a + b\n'
    )
    assert mended.code == expected


def test_a_script_that_defines_nothing_is_left_alone() -> None:
    assert mend("print(input())\n") is None


@given(st.text(max_size=200))
def test_any_text_is_survived(text: str) -> None:
    mended = mend(text)
    assert mended is None or mended.notes
