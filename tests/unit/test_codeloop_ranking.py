"""Which attempt is best, and when two failures are the same."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_orchestrator.codeloop.attempt import Attempt, Failure
from mcp_orchestrator.codeloop.problem import Budget
from mcp_orchestrator.codeloop.ranking import best_attempt, rank
from mcp_orchestrator.codeloop.spend import Spend

TESTS = ["t1", "t2", "t3", "t4"]


def attempt(number: int, passing: list[str], *, code: str = "x = 1") -> Attempt:
    failing = [test for test in TESTS if test not in passing]
    return Attempt(
        number=number,
        origin="candidate",
        code=code,
        passed=len(passing),
        failed=len(failing),
        all_passed=not failing,
        passing_tests=passing,
        failures=[
            Failure(test=test, outcome="failed", message="assert 1 == 2") for test in failing
        ],
        status="ok",
        run_id="r",
    )


def test_the_one_that_passes_wins() -> None:
    assert best_attempt([attempt(0, ["t1"]), attempt(1, TESTS), attempt(2, [])]).number == 1


def test_agreement_decides_between_equals() -> None:
    attempts = [attempt(0, ["t1", "t2"]), attempt(1, ["t3", "t4"]), attempt(2, ["t3", "t4"])]
    assert best_attempt(attempts).number == 1


def test_the_shorter_then_the_earlier_wins_a_tie() -> None:
    attempts = [attempt(0, ["t1"], code="x = 1  # long"), attempt(1, ["t1"]), attempt(2, ["t1"])]
    assert [each.number for each in rank(attempts)] == [1, 2, 0]


@given(st.lists(st.lists(st.sampled_from(TESTS), unique=True), min_size=1, max_size=6))
def test_nobody_passes_more_than_the_best(passing: list[list[str]]) -> None:
    attempts = [attempt(number, tests) for number, tests in enumerate(passing)]
    best = best_attempt(attempts)
    assert best.passed == max(each.passed for each in attempts)


def test_the_same_failure_has_the_same_fingerprint_whatever_the_code() -> None:
    assert attempt(0, ["t1"]).fingerprint == attempt(1, ["t1"], code="y = 2").fingerprint
    assert attempt(0, ["t1"]).fingerprint != attempt(0, ["t2"]).fingerprint


@pytest.mark.parametrize(
    ("spend", "reached"),
    [
        (Spend(model_calls=3), "3 model calls"),
        (Spend(input_tokens=60, output_tokens=40), "100 tokens"),
        (Spend(seconds=9.5), "9 seconds"),
        (Spend(cost={"USD": Decimal("0.5")}), "0.50 USD"),
        (Spend(model_calls=2, input_tokens=99, seconds=8.9, cost={"USD": Decimal("0.4")}), None),
        (Spend(cost={"CNY": Decimal(9)}), None),
    ],
)
def test_the_first_limit_that_is_reached_is_named(spend: Spend, reached: str | None) -> None:
    budget = Budget(model_calls=3, tokens=100, seconds=9, money={"USD": Decimal("0.50")})
    reason = spend.exhausted(budget)
    assert (reason is None) if reached is None else (reason is not None and reached in reason)
