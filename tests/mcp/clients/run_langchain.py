"""langchain-mcp-adapters: ``run_langchain.py TRANSPORT TARGET``."""

import asyncio
import json
import sys

from langchain_mcp_adapters.client import MultiServerMCPClient


async def main(transport: str, target: dict) -> dict:
    name = "streamable_http" if transport == "http" else transport
    client = MultiServerMCPClient({"orchestrator": {"transport": name, **target}})
    tools = {tool.name: tool for tool in await client.get_tools()}
    blocks = await tools["sandbox_execute"].ainvoke({"code": "print(6 * 7)"})
    text = blocks if isinstance(blocks, str) else blocks[0]["text"]
    return {"tools": list(tools), "stdout": json.loads(text)["stdout"]}


print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))))
