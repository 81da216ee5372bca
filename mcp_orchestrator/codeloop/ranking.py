"""Which attempt is best (pure).

The attempt that passes most tests wins. Among equals, agreement decides: a group of attempts that
pass exactly the same tests is worth its size times the number of those tests (dual execution
agreement, CodeT, Chen et al. 2022).
"""

from collections import Counter
from collections.abc import Sequence

from mcp_orchestrator.codeloop.attempt import Attempt


def best_attempt(attempts: Sequence[Attempt]) -> Attempt:
    """Return the best of at least one attempt."""
    return rank(attempts)[0]


def rank(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Order attempts, the best first; the shorter, then the earlier one wins a tie."""
    groups = Counter(frozenset(attempt.passing_tests) for attempt in attempts)

    def worth(attempt: Attempt) -> tuple[bool, int, int, bool, int, int]:
        passing = frozenset(attempt.passing_tests)
        agreement = groups[passing] * len(passing)
        ran = attempt.passed + attempt.failed > 0
        return (
            attempt.all_passed,
            len(passing),
            agreement,
            ran,
            -len(attempt.code),
            -attempt.number,
        )

    return sorted(attempts, key=worth, reverse=True)
