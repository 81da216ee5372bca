"""The trivial tool of the benchmark on the SDK's server and nothing else."""

import sys

import anyio
import uvicorn
from mcp.server import MCPServer

server = MCPServer[None]("bare")


@server.tool(name="bench_echo")
async def echo(text: str) -> str:
    """Return the text."""
    return text


def main() -> None:
    if sys.argv[1] == "stdio":
        server.run("stdio")
        return
    config = uvicorn.Config(
        server.streamable_http_app(), port=int(sys.argv[1]), log_level="warning"
    )
    anyio.run(uvicorn.Server(config).serve)


if __name__ == "__main__":
    main()
