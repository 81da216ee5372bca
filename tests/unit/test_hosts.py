"""Editing other programs' configuration without losing what is theirs."""

import json
from pathlib import Path

import pytest

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.hosts import claude_desktop


def test_our_entry_is_added_and_everything_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "Claude" / "claude_desktop_config.json"
    path.parent.mkdir()
    before = {"theme": "dark", "mcpServers": {"other": {"command": "x"}}}
    path.write_text(json.dumps(before))
    backup = claude_desktop.write_config(path, claude_desktop.planned_config(path))
    after = json.loads(path.read_text())
    assert after["theme"] == "dark"
    assert after["mcpServers"]["other"] == {"command": "x"}
    assert after["mcpServers"]["mcp-orchestrator"]["args"][-1] == "serve"
    assert backup is not None
    assert json.loads(backup.read_text()) == before


def test_a_new_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "Claude" / "claude_desktop_config.json"
    assert claude_desktop.write_config(path, claude_desktop.planned_config(path)) is None
    assert "mcp-orchestrator" in json.loads(path.read_text())["mcpServers"]


@pytest.mark.parametrize("text", ["{", "[]", '{"mcpServers": []}'])
def test_a_file_that_is_not_understood_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="nothing was changed"):
        claude_desktop.planned_config(path)
    assert path.read_text() == text
