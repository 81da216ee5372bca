"""A coder whose error rate is known: right with probability p, repairs with probability q.

What it answers depends only on the seed, the problem and how often it was asked: a run can be
foretold exactly. It repairs only when the feedback is good: the failing assertion with the expected
and the actual value, and the frame's locals.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass, field

from tests.services.programmer import fenced
from tests.services.provider_server import Answer, Received, says

_FUNCTION = re.compile(r"named (shift_\d+)")


def problem(number: int) -> str:
    """Return the words of one problem."""
    return f"Write a function named shift_{number}(x) that returns x plus {number}."


def tests(number: int) -> str:
    """Return the tests of one problem."""
    return (
        f"from solution import shift_{number}\n\n"
        f"def test_shift():\n    shifted = shift_{number}(1)\n    assert shifted == {number + 1}\n"
    )


@dataclass
class ScriptedCoder:
    """Answers chat completions; remembers how often it was asked what.

    Args:
        right: probability that a program written from nothing is right.
        repairs: probability that a repair is, given good feedback.
        seed: chooses the draws.
    """

    right: float
    repairs: float
    seed: int
    asked: Counter[str] = field(default_factory=Counter[str])
    poor_feedback: list[str] = field(default_factory=list[str])

    def __call__(self, received: Received) -> Answer:
        """Answer one request."""
        return says(self.answer(received.prompt))(received)

    def answer(self, prompt: str) -> str:
        """Return the answer to one prompt."""
        name = next(iter(_FUNCTION.findall(prompt)), "")
        is_repair = "This program is wrong" in prompt
        key = f"{name}.{'repair' if is_repair else 'program'}"
        ordinal = self.asked[key]
        self.asked[key] += 1
        if is_repair and not _is_good_feedback(prompt, name):
            self.poor_feedback.append(prompt)
            return fenced(_program(name, off_by=99))
        works = self.draw(key, ordinal)
        wrong = (200 if is_repair else 100) + ordinal  # never twice the same way
        return fenced(_program(name, off_by=0 if works else wrong))

    def draw(self, key: str, ordinal: int) -> bool:
        """Tell whether the nth answer of a kind to a problem is right."""
        chance = random.Random(f"{self.seed}.{key}.{ordinal}").random()
        return chance < (self.repairs if key.endswith("repair") else self.right)


def _program(name: str, *, off_by: int) -> str:
    number = name.removeprefix("shift_")
    return f"def {name}(x):\n    return x + {number} + {off_by}\n"


def _is_good_feedback(prompt: str, name: str) -> bool:
    number = int(name.removeprefix("shift_"))
    told = prompt.partition("What happened:")[2]
    return all(
        words in told
        for words in (f"== {number + 1}", "actual: ", f"expected: {number + 1}", "shifted=")
    )
