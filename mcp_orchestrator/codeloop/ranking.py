"""Which attempt is best (pure).

The attempt that passes most tests wins. Among equals, agreement decides: a group of attempts that
pass exactly the same tests is worth its size times the number of those tests (dual execution
agreement, CodeT, Chen et al. 2022). First the tests that decide are counted so, then those that a
model wrote to tell apart programs that pass them: a generated test never overrules a user's.
"""

from collections import Counter
from collections.abc import Sequence

from mcp_orchestrator.codeloop.attempt import Attempt


def best_attempt(attempts: Sequence[Attempt]) -> Attempt:
    """Return the best of at least one attempt."""
    return rank(attempts)[0]


def rank(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Order attempts, the best first; the shorter, then the earlier one wins a tie."""
    deciding = _agreement([attempt.passing_tests for attempt in attempts])
    telling_apart = _agreement([attempt.agreeing_tests for attempt in attempts])

    def worth(attempt: Attempt) -> tuple[bool, int, int, bool, int, int, int]:
        return (
            attempt.all_passed,
            len(set(attempt.passing_tests)),
            deciding[frozenset(attempt.passing_tests)],
            attempt.passed + attempt.failed > 0,
            telling_apart[frozenset(attempt.agreeing_tests)],
            -len(attempt.code),
            -attempt.number,
        )

    return sorted(attempts, key=worth, reverse=True)


def _agreement(passing: Sequence[Sequence[str]]) -> dict[frozenset[str], int]:
    """Return what each group that passes the same tests is worth: its size times their number."""
    sizes = Counter(frozenset(tests) for tests in passing)
    return {tests: size * len(tests) for tests, size in sizes.items()}
