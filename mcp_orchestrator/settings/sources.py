"""Where settings are written down, under which names, and how lists are written there."""

import os
from pathlib import Path
from typing import Annotated, Final, TypeVar

from platformdirs import user_config_path
from pydantic import AliasChoices, BeforeValidator
from pydantic_settings import NoDecode

T = TypeVar("T")
PREFIX: Final = "MCP_ORCHESTRATOR_"
CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"


def also(name: str, *customary: str) -> AliasChoices:
    """Accept a setting under our prefix and under the names people already use."""
    return AliasChoices(f"{PREFIX}{name}", *customary, name.lower())


def _split_path(value: object) -> object:
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


def _split_commas(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


#: Lists that are one text in the environment, their parts separated by commas or as in PATH.
CommaSeparated = Annotated[list[T], NoDecode, BeforeValidator(_split_commas)]
Paths = Annotated[list[Path], NoDecode, BeforeValidator(_split_path)]


def config_file() -> Path | None:
    """Return the TOML file in use: the one named by the environment, or an existing default."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    for path in (
        Path("mcp-orchestrator.toml"),
        user_config_path("mcp-orchestrator") / "config.toml",
    ):
        if path.is_file():
            return path
    return None
