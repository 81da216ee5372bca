"""Editing other programs' configuration without losing what is theirs."""

import json
from pathlib import Path

import pytest

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.hosts import HOSTS, SERVER_NAME, Host, host_named, planned_change

EVERY_HOST = pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
ENTRY: dict[str, object] = {"command": "x"}


@EVERY_HOST
def test_our_entry_is_added_and_everything_else_is_kept(host: Host, tmp_path: Path) -> None:
    path = tmp_path / host.user_file
    path.parent.mkdir(parents=True, exist_ok=True)
    before = {"theme": "dünkel", host.servers_key: {"other": {"command": "x"}}}
    path.write_text(json.dumps(before))
    path.chmod(0o600)
    change = planned_change(path, host.servers_key, SERVER_NAME, host.entry())
    assert SERVER_NAME in change.as_diff()
    backup = change.write()
    after = json.loads(path.read_text())
    ours = after[host.servers_key].pop(SERVER_NAME)
    assert after == before
    assert ours["args"][-1] == "serve"
    assert ours.get("type") == ("stdio" if host.says_type else None)
    assert backup is not None
    assert json.loads(backup.read_text()) == before
    assert path.stat().st_mode & 0o777 == 0o600
    again = planned_change(path, host.servers_key, SERVER_NAME, host.entry())
    assert again.as_diff() == ""


def test_a_new_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "Claude" / "claude_desktop_config.json"
    assert planned_change(path, "mcpServers", SERVER_NAME, ENTRY).write() is None
    assert json.loads(path.read_text()) == {"mcpServers": {SERVER_NAME: ENTRY}}


@pytest.mark.parametrize("text", ["{", "[]", '{"mcpServers": []}', '{"a": 1} // comment'])
def test_a_file_that_is_not_understood_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="Nothing was changed"):
        planned_change(path, "mcpServers", SERVER_NAME, ENTRY)
    assert path.read_text() == text


@EVERY_HOST
def test_each_host_is_given_a_url_in_its_own_words(host: Host) -> None:
    if not host.takes_url:
        with pytest.raises(ConfigurationError, match="Connectors"):
            host.entry("https://example.org/mcp")
        return
    entry = host.entry("https://example.org/mcp")
    assert entry["url"] == "https://example.org/mcp"
    assert entry.get("type") == ("http" if host.says_type else None)


@EVERY_HOST
def test_a_project_has_a_file_of_its_own(host: Host, tmp_path: Path) -> None:
    if host.project_file is None:
        with pytest.raises(ConfigurationError, match="--project"):
            host.configuration_file(tmp_path)
    else:
        assert host.configuration_file(tmp_path) == tmp_path / host.project_file
    assert tmp_path not in host.configuration_file().parents


def test_an_unknown_host_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="cursor, vscode"):
        host_named("emacs")
