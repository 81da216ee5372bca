"""What running tests against a program promises, whatever isolates them."""

import pytest

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.sandbox import Limits, RunStatus, Sandbox, TestReport, TestRequest

CODE = "def add(a, b):\n    total = a + b\n    return total\n\nLIMIT = 3\n"


async def report(sandbox: Sandbox, tests: str, code: str = CODE, **more: object) -> TestReport:
    return await sandbox.run_tests(TestRequest(code, tests, **more))  # type: ignore[arg-type]


def outcomes(of: TestReport) -> dict[str, str]:
    return {case.name: case.outcome for case in of.cases}


async def test_bare_assertions_are_a_case_each(sandbox: Sandbox) -> None:
    tests = "assert add(1, 2) == 3\nx = add(2, 2)\n\nassert x == 5, 'sum'\nassert 3 == LIMIT\n"
    result = await report(sandbox, tests)
    assert outcomes(result) == {"line 1": "passed", "line 4": "failed", "line 5": "passed"}
    assert (result.passed, result.failed, result.all_passed) == (2, 1, False)
    assert result.cases[1].message == "sum\nassert x == 5\nexpected: 5\nactual: 4"


async def test_functions_with_and_without_an_import(sandbox: Sandbox) -> None:
    tests = (
        "from solution import add as plus\n"
        "def test_import():\n    assert plus(1, 1) == 2\n"
        "def test_name():\n    assert add(1, 1) == 2\n"
        "async def test_async():\n    assert add(0, 0) == 0\n"
        "class TestSums:\n    def test_sum(self):\n        assert add(1, 2) == 3\n"
    )
    result = await report(sandbox, tests)
    assert result.all_passed
    assert list(outcomes(result)) == ["test_import", "test_name", "test_async", "TestSums.test_sum"]


async def test_unittest_classes(sandbox: Sandbox) -> None:
    tests = (
        "import unittest\n"
        "class Sums(unittest.TestCase):\n"
        "    def setUp(self): self.one = 1\n"
        "    def test_good(self): self.assertEqual(add(self.one, 1), 2)\n"
        "    def test_bad(self): self.assertEqual(add(1, 1), 3)\n"
        "    def test_error(self): add(1)\n"
        "    @unittest.skip('later')\n"
        "    def test_skipped(self): pass\n"
        "if __name__ == '__main__':\n    unittest.main()\n"
    )
    result = await report(sandbox, tests)
    assert outcomes(result) == {
        "Sums.test_bad": "failed", "Sums.test_error": "error", "Sums.test_good": "passed",
        "Sums.test_skipped": "skipped",
    }  # fmt: skip
    assert (result.passed, result.failed) == (1, 2)


async def test_pytest_itself_where_tests_need_it(sandbox: Sandbox) -> None:
    tests = (
        "import pytest\n"
        "@pytest.mark.parametrize('a', [1, 2])\n"
        "def test_each(a):\n    assert add(a, 1) == 2\n"
        "def test_raises():\n    with pytest.raises(TypeError):\n        add('a', 1)\n"
        "def test_fixture(tmp_path, capsys):\n"
        "    print(add(1, 1)); assert capsys.readouterr().out == '2\\n'\n"
        "@pytest.mark.skip(reason='later')\n"
        "def test_later(): pass\n"
    )
    result = await report(sandbox, tests)
    assert outcomes(result) == {
        "test_each[1]": "passed", "test_each[2]": "failed", "test_raises": "passed",
        "test_fixture": "passed", "test_later": "skipped",
    }  # fmt: skip
    assert "assert 3 == 2" in result.cases[1].message


async def test_a_failure_shows_the_last_frames_with_their_locals(sandbox: Sandbox) -> None:
    code = "def broken(items):\n    half = len(items) // 2\n    return items[half + 9]\n"
    result = await report(sandbox, "def test_it():\n    assert broken([1, 2]) == 1\n", code)
    (case,) = result.cases
    assert (case.outcome, case.message) == ("error", "IndexError: list index out of range")
    inner = case.frames[-1]
    assert (inner.function, inner.line, inner.source) == ("broken", 3, "return items[half + 9]")
    assert dict(inner.locals) == {"items": "[1, 2]", "half": "1"}
    assert case.frames[0].function == "test_it"


async def test_the_style_of_humaneval(sandbox: Sandbox) -> None:
    tests = "def check(candidate):\n    assert candidate(1, 2) == 4\n\ncheck(add)\n"
    result = await report(sandbox, tests)
    assert outcomes(result) == {"line 4": "failed"}
    assert result.cases[0].frames[-1].function == "check"


async def test_assertions_evaluate_once(sandbox: Sandbox) -> None:
    tests = "seen = []\nassert seen.append(1) is None\nassert len(seen) == 1\nassert (y := 2) and y"
    assert (await report(sandbox, tests)).all_passed


@pytest.mark.parametrize(
    ("code", "fragment"),
    [
        ("def f(:", "SyntaxError"),
        ("import nothing_of_the_kind", "ModuleNotFoundError"),
        ("import sys; sys.exit(0)", "SystemExit"),
    ],
)
async def test_a_program_that_cannot_be_imported_passes_nothing(
    sandbox: Sandbox, code: str, fragment: str
) -> None:
    result = await report(sandbox, "assert True", code)
    assert not result.all_passed
    assert result.failed == 1
    assert fragment in result.cases[0].message


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "def add(a, b):\n    import os; os._exit(0)",
        "import os; os.write(3, b'{\"end\": 1}\\n'); os._exit(0)",
        'import os; os.write(3, b\'{"nonce": "x", "case": "c", "outcome": "passed"}\\n\''
        'b\'{"nonce": "x", "end": 1}\\n\'); os._exit(0)',
        "import os; os.close(3)",
    ],
)
async def test_what_was_not_reported_did_not_pass(sandbox: Sandbox, code: str) -> None:
    result = await report(sandbox, "assert add(1, 2) == 3", code)
    assert not result.all_passed
    assert result.passed == 0


async def test_tests_without_a_single_case_did_not_pass(sandbox: Sandbox) -> None:
    result = await report(sandbox, "x = 1\n")
    assert (result.cases, result.all_passed) == ((), False)


async def test_a_test_that_hangs_is_named_and_the_earlier_ones_are_kept(sandbox: Sandbox) -> None:
    tests = "assert add(1, 1) == 2\ndef test_slow():\n    while True: pass\n"
    result = await report(sandbox, tests, limits=Limits(wall_seconds=0.5))
    assert outcomes(result) == {"line 1": "passed", "test_slow": "error"}
    assert "longer than 0.5 s" in result.cases[-1].message
    assert result.run.status is RunStatus.TIMEOUT


async def test_other_module_names_and_files(sandbox: Sandbox) -> None:
    result = await report(
        sandbox,
        "import json\nfrom prices import add\nassert add(json.load(open('n.json')), 1) == 6",
        module_name="prices",
        files={"n.json": "5"},
    )
    assert result.all_passed


async def test_bad_test_requests_are_refused(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidInputError):
        await report(sandbox, "  ")
    with pytest.raises(InvalidInputError):
        await report(sandbox, "assert 1", module_name="../x")


BRANCHES = (
    "def sign(x):\n    if x < 0:\n        return -1\n    return 1\n\ndef never():\n    pass\n"
)


@pytest.mark.parametrize(
    "tests",
    [
        "assert sign(3) == 1",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): sign(1)\n",
        "import pytest\n@pytest.mark.parametrize('x', [1, 2])\ndef test(x): assert sign(x)\n",
    ],
)
async def test_the_lines_that_no_test_reached_are_named(sandbox: Sandbox, tests: str) -> None:
    result = await report(sandbox, tests, BRANCHES, coverage=True)
    assert result.all_passed, result
    assert result.coverage is not None
    assert (result.coverage.statements, result.coverage.missing) == (6, (3, 7))
    assert result.coverage.percent == 66.7


async def test_nothing_is_measured_unasked_or_of_tests_that_do_not_end(sandbox: Sandbox) -> None:
    assert (await report(sandbox, "assert sign(1)", BRANCHES)).coverage is None
    ended = await report(sandbox, "import os; os._exit(0)", BRANCHES, coverage=True)
    assert ended.coverage is None
