"""Tool definitions, as few and as short as they can be: clients pay for them at every turn."""

import inspect
from collections.abc import Callable
from typing import Any

from mcp.server import MCPServer
from mcp_types import Icon, Tool, ToolAnnotations
from pydantic import ValidationError

from mcp_orchestrator.server.concise_schema import concise, outline
from mcp_orchestrator.server.selection import Selection


class ConciseServer(MCPServer[None]):
    """A server with only the chosen tools, and with schemas that do not repeat themselves.

    Args:
        name: as clients see it.
        selection: which tools are added; others are passed over.
        options: as the SDK's server takes them.
    """

    def __init__(self, name: str, selection: Selection, **options: Any) -> None:
        super().__init__(name, **options)
        self._selection = selection
        self._toolset = ""
        self._kinds: dict[str, tuple[str, bool]] = {}

    def begin_toolset(self, toolset: str) -> None:
        """Count the tools that are added from now on to a toolset."""
        self._toolset = toolset

    def add_tool(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: ToolAnnotations | None = None,
        icons: list[Icon] | None = None,
        meta: dict[str, Any] | None = None,
        structured_output: bool | None = None,
    ) -> None:
        """Add a tool if it was chosen; the arguments are the SDK's."""
        shown = name or getattr(fn, "__name__", "")
        reads_only = annotations is not None and annotations.read_only_hint is True
        if self._selection.includes(self._toolset, shown, reads_only=reads_only):
            text = description or inspect.getdoc(fn)  # the SDK would send the indentation too
            super().add_tool(fn, name, title, text, annotations, icons, meta, structured_output)
            self._kinds.setdefault(shown, (self._toolset, not reads_only))  # the first one stays

    def kind_of(self, name: str) -> tuple[str, bool] | None:
        """Return a tool's toolset and whether it changes anything, or None if it is not shown."""
        return self._kinds.get(name)

    @property
    def names(self) -> list[str]:
        """The names of the tools that are shown."""
        return list(self._kinds)

    def accepts(self, name: str, arguments: dict[str, Any]) -> bool:
        """Tell whether there is a tool of a name that takes such arguments."""
        tool = self._tool_manager.get_tool(name)
        if tool is None:
            return False
        try:
            tool.fn_metadata.validate_arguments(arguments)
        except ValidationError:
            return False
        return True

    async def list_tools(self) -> list[Tool]:
        """Return the tools with their schemas shortened."""
        return [
            tool.model_copy(
                update={
                    "input_schema": concise(tool.input_schema),
                    "output_schema": outline(tool.output_schema) if tool.output_schema else None,
                }
            )
            for tool in await super().list_tools()
        ]
