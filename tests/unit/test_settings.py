"""Settings: where they come from, and how a bad one is named."""

from pathlib import Path

import pytest

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.settings import load_settings


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no .env, no TOML file and no variable of ours is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("REDIS_URL", "DATABASE_URL", "DEEPSEEK_API_KEY", "PERPLEXITY_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_flags_beat_the_environment_which_beats_dotenv_which_beats_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mcp-orchestrator.toml").write_text('port = 1\nhost = "toml"\nsandbox = "docker"\n')
    (tmp_path / ".env").write_text("MCP_ORCHESTRATOR_PORT=2\nMCP_ORCHESTRATOR_HOST=dotenv\n")
    monkeypatch.setenv("MCP_ORCHESTRATOR_PORT", "3")
    settings = load_settings({"port": 4, "log_level": None})
    assert (settings.port, settings.host, settings.sandbox) == (4, "dotenv", "docker")
    assert load_settings().port == 3
    monkeypatch.delenv("MCP_ORCHESTRATOR_PORT")
    assert load_settings().port == 2


def test_customary_names_and_our_own_are_both_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "secret-one")
    monkeypatch.setenv("REDIS_URL", "redis://customary")
    settings = load_settings()
    assert settings.has_coder
    assert settings.has_reasoner
    assert settings.redis_url is not None
    assert "customary" not in repr(settings)
    assert "secret-one" not in repr(settings)
    monkeypatch.setenv("MCP_ORCHESTRATOR_REDIS_URL", "redis://ours")
    redis_url = load_settings().redis_url
    assert redis_url is not None
    assert redis_url.get_secret_value() == "redis://ours"


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "")
    assert not load_settings().has_coder


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("MCP_ORCHESTRATOR_PORT", "70000", "port"),
        ("MCP_ORCHESTRATOR_TRANSPORT", "pigeon", "transport"),
        ("MCP_ORCHESTRATOR_SANDBOX", "none", "sandbox"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"Setting {field}: ")
    assert "\n" not in message


@pytest.mark.parametrize("text", ["nonsense = 1\n", "port = ["])
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "mcp-orchestrator.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"mcp-orchestrator\.toml"):
        load_settings()


def test_the_store_is_a_file_in_the_data_folder_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings({"data_dir": tmp_path}).store_url.endswith(f"{tmp_path}/orchestrator.db")
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/else")
    assert load_settings().store_url == "postgresql://somewhere/else"
