"""Reading every source of settings, with one line that says what is wrong."""

import tomllib
from collections.abc import Mapping

from pydantic import ValidationError

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.settings.settings import Settings
from mcp_orchestrator.settings.sources import config_file


def load_settings(flags: Mapping[str, object] | None = None) -> Settings:
    """Read all sources.

    Args:
        flags: settings given on the command line, by field name; None values are left out.

    Raises:
        ConfigurationError: one line that names the setting and what is wrong with it.
    """
    _check_config_file()
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**given)  # pyright: ignore[reportArgumentType]  # Pydantic checks them
    except ValidationError as error:
        raise ConfigurationError(_one_line(error)) from error


def _check_config_file() -> None:
    path = config_file()
    if path is None:
        return
    try:
        keys = tomllib.loads(path.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Configuration file {path}: {error}.") from error
    unknown = sorted(set(keys) - set(Settings.model_fields))
    if unknown:
        raise ConfigurationError(
            f"Configuration file {path}: unknown setting {unknown[0]!r}.",
            remedy=f"Settings are: {', '.join(sorted(Settings.model_fields))}.",
        )


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    return f"Setting {name}: {first['msg']}."
