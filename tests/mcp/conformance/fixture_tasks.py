"""The long-running tools that the suite asks for; our own back end makes MCP tasks of them."""

import asyncio
from typing import Annotated, Any, Final

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

ASKING_FIRST: Final = {"test_tool_with_task"}
ALWAYS: Final = {"failing_job", "test_tool_with_task"}
LONG: Final = {"slow_compute", "protocol_error_job", "confirm_delete", "multi_input", *ALWAYS}


class Yes(BaseModel):
    """What a person is asked."""

    yes: bool = True


def ask_first() -> Elicit[Yes]:
    return Elicit("First?", Yes)


def ask_second() -> Elicit[Yes]:
    return Elicit("Second?", Yes)


def register(server: MCPServer[None]) -> None:
    """Put the tools on a server."""

    @server.tool()
    def greet(name: str) -> str:
        """Greet."""
        return f"Hello, {name}!"

    @server.tool()
    async def slow_compute(seconds: float, label: str = "") -> str:
        """Take a while."""
        await asyncio.sleep(seconds)
        return f"computed {label}"

    @server.tool()
    async def failing_job() -> str:
        """Fail as a tool does."""
        raise ToolError("This job fails.")

    @server.tool()
    async def protocol_error_job() -> str:
        """Fail as the protocol does."""
        raise MCPError(code=types.INTERNAL_ERROR, message="This job breaks the protocol.")

    @server.tool()
    async def confirm_delete(filename: str, answer: Annotated[Yes, Resolve(ask_first)]) -> str:
        """Delete after a question."""
        return f"deleted {filename}"

    @server.tool()
    async def multi_input(
        first: Annotated[Yes, Resolve(ask_first)], second: Annotated[Yes, Resolve(ask_second)]
    ) -> str:
        """Do something after two questions."""
        return "answered"

    @server.tool(structured_output=False)
    async def test_tool_with_task(context: Context[Any, Any]) -> str | types.InputRequiredResult:
        """Ask for a name, then take a while."""
        given = (context.input_responses or {}).get("user_name")
        if given is None:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            params = types.ElicitRequestFormParams.model_validate(
                {"message": "What is your name?", "requestedSchema": schema}
            )
            question = types.ElicitRequest(params=params)
            return types.InputRequiredResult(input_requests={"user_name": question})
        return f"Hello, {given.model_dump(mode='json').get('content')}!"
