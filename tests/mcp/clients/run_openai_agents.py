"""openai-agents: ``run_openai_agents.py TRANSPORT TARGET``."""

import asyncio
import json
import sys

from agents.mcp import MCPServerSse, MCPServerStdio, MCPServerStreamableHttp

KINDS = {"stdio": MCPServerStdio, "http": MCPServerStreamableHttp, "sse": MCPServerSse}


async def main(transport: str, target: dict) -> dict:
    async with KINDS[transport](params=target, client_session_timeout_seconds=60) as server:
        tools = [tool.name for tool in await server.list_tools()]
        run = await server.call_tool("sandbox_execute", {"code": "print(6 * 7)"})
        return {"tools": tools, "stdout": json.loads(run.content[0].text)["stdout"]}


print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))))
