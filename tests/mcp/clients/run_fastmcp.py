"""FastMCP's client: ``run_fastmcp.py TRANSPORT TARGET``; calls also go as MCP tasks."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport
from fastmcp_tasks import call_tool_task


async def main(transport: str, target: dict) -> dict:
    if transport == "stdio":
        reached = StdioTransport(target["command"], target["args"], env=target["env"])
    else:
        reached = {"http": StreamableHttpTransport, "sse": SSETransport}[transport](target["url"])
    async with Client(reached) as client:
        tools = [tool.name for tool in await client.list_tools()]
        run = await client.call_tool("sandbox_execute", {"code": "print(6 * 7)"})
        told = {"tools": tools, "stdout": run.structured_content["stdout"]}
        if transport != "sse":  # tasks belong to the era that has no SSE
            task = await call_tool_task(client, "sandbox_execute", {"code": "print(6 * 7)"})
            ended = await task.result()
            told["by_task"] = ended.structured_content["stdout"]
        return told


print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))))
