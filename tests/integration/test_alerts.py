"""The alert rules: accepted by promtool, each with cases and with a page that says what to do."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require
from tests.services.process import find_program

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
ALERTS = re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text())


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")]
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    promtool = require(lambda: find_program("promtool"))
    done = subprocess.run(
        [promtool, *arguments], cwd=RULES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_case_that_fires_one_that_does_not_and_a_page(alert: str) -> None:
    cases = (RULES / "alerts.test.yml").read_text()
    assert f"name: {alert} fires" in cases
    assert f"name: {alert} is quiet" in cases
    assert f"runbook: docs/runbooks/{alert}.md" in (RULES / "alerts.yml").read_text()
    page = (ROOT / "docs" / "runbooks" / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    assert {"## Look", "## Mend"} <= set(page.splitlines())


def test_no_page_is_left_of_an_alert_that_is_gone() -> None:
    assert {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} == set(ALERTS)
