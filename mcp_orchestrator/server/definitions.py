"""Tool definitions as short as they can be: every client pays for them in tokens, at every turn."""

from typing import Any, TypeVar, cast

from mcp.server import MCPServer
from mcp_types import Tool

J = TypeVar("J")


class ConciseServer(MCPServer[None]):
    """A server whose schemas leave out the titles that only repeat the names of the fields."""

    async def list_tools(self) -> list[Tool]:
        """Return the tools with their schemas shortened."""
        return [
            tool.model_copy(
                update={
                    "input_schema": _without_titles(tool.input_schema),
                    "output_schema": _without_titles(tool.output_schema),
                }
            )
            for tool in await super().list_tools()
        ]


def _without_titles(schema: J) -> J:
    """Leave out each ``title`` that is an annotation; a field called title is an object."""
    if isinstance(schema, dict):
        entries = cast("dict[str, Any]", schema)
        kept = {
            key: _without_titles(value)
            for key, value in entries.items()
            if not (key == "title" and isinstance(value, str))
        }
        return cast("J", kept)
    if isinstance(schema, list):
        return cast("J", [_without_titles(item) for item in cast("list[Any]", schema)])
    return schema
