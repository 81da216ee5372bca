"""pydantic-ai: ``run_pydantic_ai.py TRANSPORT TARGET``."""

import asyncio
import json
import sys

from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport
from pydantic_ai.mcp import MCPToolset


async def main(transport: str, target: dict) -> dict:
    if transport == "stdio":
        reached = StdioTransport(target["command"], target["args"], env=target["env"])
    else:
        reached = {"http": StreamableHttpTransport, "sse": SSETransport}[transport](target["url"])
    async with MCPToolset(reached) as toolset:
        tools = [tool.name for tool in await toolset.list_tools()]
        run = await toolset.direct_call_tool("sandbox_execute", {"code": "print(6 * 7)"})
        return {"tools": tools, "stdout": run["stdout"]}


print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))))
