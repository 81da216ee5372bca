"""Which tools a client is shown."""

import pytest

from mcp_orchestrator.server.selection import OCCASIONAL, Selection


@pytest.mark.parametrize("name", sorted(OCCASIONAL))
def test_what_is_seldom_needed_is_shown_when_asked_for(name: str) -> None:
    toolset = name.split("_", maxsplit=1)[0]
    assert not Selection().includes(toolset, name, reads_only=False)
    assert Selection(["all"]).includes(toolset, name, reads_only=False)
    assert Selection([toolset]).includes(toolset, name, reads_only=False)
    assert Selection(tools=[name]).includes(toolset, name, reads_only=False)


def test_read_only_wins_over_everything() -> None:
    selection = Selection(["all"], ["loop_start"], read_only=True)
    assert not selection.includes("loop", "loop_start", reads_only=False)
    assert selection.includes("loop", "loop_get", reads_only=True)
