"""Write the reference pages from the code: ``python scripts/reference.py`` (``make docs``)."""

import sys
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mcp_orchestrator.settings import PREFIX, Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"


def settings_page() -> str:
    """Return the page of all settings."""
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from `mcp_orchestrator/settings.py`.",
        "",
        "From the strongest to the weakest source: command-line flags, environment variables,",
        "`.env` in the working folder, a TOML file (`mcp-orchestrator.toml` in the working folder,",
        "`config.toml` in the user's configuration folder, or the one that",
        f"`{PREFIX}CONFIG` names), defaults. In TOML a setting is written by its name.",
        "",
        "| setting | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        variables = "<br>".join(f"`{variable}`" for variable in _variables(name, field))
        lines.append(f"| `{name}` | {variables} | {_default(field)} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _variables(name: str, field: FieldInfo) -> list[str]:
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices if str(choice) != name]
    return [PREFIX + name.upper()]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None or field.default is PydanticUndefined:
        return "see meaning"
    return "" if field.default is None else f"`{field.default}`"


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    return {DOCS / "settings.md": settings_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.name}\n")
