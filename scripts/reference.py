"""Write the reference pages from the code: ``python scripts/reference.py`` (``make docs``)."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
from mcp_types import Tool
from pydantic import AliasChoices, JsonValue
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mcp_orchestrator.runtime import open_runtime
from mcp_orchestrator.server.app import build_server
from mcp_orchestrator.server.auth.refusals import Refusals
from mcp_orchestrator.server.selection import OCCASIONAL
from mcp_orchestrator.settings import PREFIX, Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"


def settings_page() -> str:
    """Return the page of all settings."""
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from `mcp_orchestrator/settings/settings.py`.",
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


async def tools_page() -> str:
    """Return the page of all tools, resources and prompts of a server without packs of users."""
    with TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), toolsets=["all"], sandbox="bubblewrap")
        async with open_runtime(settings, background=False) as runtime:
            server = build_server(runtime, Refusals(runtime.metrics))
            tools = await server.list_tools()
            resources = await server.list_resources()
            templates = await server.list_resource_templates()
            prompts = await server.list_prompts()
    lines = [
        "# Tools, resources and prompts",
        "",
        "Written by `make docs` from the code. A tool marked *occasional* is shown when asked for:",
        "`--tools NAME`, `--toolsets SET` or `--toolsets all`.",
        "",
    ]
    for tool in tools:
        lines += _tool_section(tool)
    lines += ["## Resources", "", "| address | what it holds |", "|---|---|"]
    lines += [f"| `{each.uri}` | {_cell(each.description)} |" for each in resources]
    lines += [f"| `{each.uri_template}` | {_cell(each.description)} |" for each in templates]
    lines += ["", "## Prompts", "", "| prompt | what it is for | arguments |", "|---|---|---|"]
    for each in prompts:
        names = ", ".join(f"`{argument.name}`" for argument in each.arguments or [])
        lines.append(f"| `{each.name}` | {_cell(each.description)} | {names} |")
    return "\n".join(lines) + "\n"


def _tool_section(tool: Tool) -> list[str]:
    hints = tool.annotations
    marks = [
        word
        for word, holds in {
            "only reads": hints and hints.read_only_hint,
            "may destroy": hints and hints.destructive_hint and not hints.read_only_hint,
            "may be repeated": hints and hints.idempotent_hint and not hints.read_only_hint,
            "reaches outside": hints and hints.open_world_hint,
            "*occasional*": tool.name in OCCASIONAL,
        }.items()
        if holds
    ]
    summary = f"{tool.title} ({', '.join(marks)})." if marks else f"{tool.title}."
    lines = [
        f"## `{tool.name}`",
        "",
        tool.description or "",
        "",
        summary,
    ]
    fields = tool.input_schema.get("properties", {})
    if fields:
        required = set(tool.input_schema.get("required", []))
        lines += ["", "| argument | type | meaning |", "|---|---|---|"]
        lines += [
            f"| `{name}`{'' if name in required else ' (optional)'} | {_type_of(field)} |"
            f" {_cell(field.get('description'))} |"
            for name, field in fields.items()
        ]
    answer = ", ".join(f"`{name}`" for name in (tool.output_schema or {}).get("properties", {}))
    return [*lines, "", f"Answers with {answer}.", ""]


def _type_of(field: dict[str, JsonValue]) -> str:
    if "enum" in field and isinstance(field["enum"], list):
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = field.get("type", "any")
    words = " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    default = field.get("default")
    return words if default in (None, "", {}, []) or kind == "object" else f"{words}, `{default}`"


def _cell(text: object) -> str:
    return " ".join(str(text or "").split()).replace("|", "\\|")


#: Every generated page, and what writes it.
PAGES: Final[dict[Path, Callable[[], str]]] = {
    DOCS / "settings.md": settings_page,
    DOCS / "tools.md": partial(anyio.run, tools_page),
}


if __name__ == "__main__":
    for path, write in PAGES.items():
        path.write_text(write(), encoding="utf-8")
        sys.stdout.write(f"{path.name}\n")
