"""Our server with the suite's fixtures on it: ``python -m tests.mcp.conformance.serve``."""

import sys

import anyio
import uvicorn

from mcp_orchestrator.runtime import open_runtime
from mcp_orchestrator.server.app import build_server
from mcp_orchestrator.server.auth.refusals import Refusals
from mcp_orchestrator.server.transports import build_asgi
from mcp_orchestrator.settings import load_settings
from tests.mcp.conformance import fixture_tasks, fixtures


async def main(port: int) -> None:
    """Serve until the process is ended."""
    settings = load_settings({"transport": "http", "toolsets": ["all"]})
    async with open_runtime(settings) as runtime:
        refusals = Refusals(runtime.metrics)
        server = build_server(
            runtime,
            refusals,
            more_long_tools=fixture_tasks.LONG,
            always_tasks=fixture_tasks.ALWAYS,
            asking_first=fixture_tasks.ASKING_FIRST,
        )
        server.begin_toolset("conformance")
        fixtures.register(server)
        fixture_tasks.register(server)
        app = build_asgi(server, runtime, refusals)
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]))
