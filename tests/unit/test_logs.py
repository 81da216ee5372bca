"""What a line of the log carries, and what it never shows."""

import json
import logging

import pytest

from mcp_orchestrator.telemetry.correlation import correlated, current_ids
from mcp_orchestrator.telemetry.logs import JsonLines, TextLines

SECRETS = ["hunter2-hunter2"]


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    trace = (type(error), error, None) if error is not None else None
    return logging.LogRecord("a.b", logging.WARNING, "", 1, message, (), trace)


def test_ids_hold_for_a_block_and_those_around_it_go_on_holding() -> None:
    with correlated(saga_id="s1", principal=None):
        with correlated(task_id="t1"):
            assert current_ids() == {"saga_id": "s1", "task_id": "t1"}
        assert current_ids() == {"saga_id": "s1"}
    assert current_ids() == {}


def test_a_json_line_has_the_ids_beside_the_message() -> None:
    with correlated(saga_id="s1", principal="ann"):
        entry = json.loads(JsonLines().format(record("two\nlines")))
    assert entry["message"] == "two\nlines"
    assert (entry["level"], entry["logger"]) == ("WARNING", "a.b")
    assert (entry["saga_id"], entry["principal"]) == ("s1", "ann")
    assert entry["time"].endswith("+00:00")


def test_a_text_line_ends_with_the_ids() -> None:
    with correlated(run_id="r1"):
        assert TextLines().format(record("done")).endswith("a.b: done run_id=r1")


@pytest.mark.parametrize("style", [TextLines, JsonLines])
@pytest.mark.parametrize(
    "secret",
    ["hunter2-hunter2", "Bearer abcdefgh12345678", "sk-abcdefghijkl", "redis://:pass-word@host"],
)
def test_secrets_are_blotted_out_of_message_and_traceback(
    style: type[TextLines] | type[JsonLines], secret: str
) -> None:
    line = style(SECRETS).format(record(f"it was {secret}", ValueError(f"no {secret}!")))
    assert secret not in line
    assert "pass-word" not in line
    assert line.count("[redacted]") == 2
