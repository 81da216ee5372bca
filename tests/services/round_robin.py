"""A proxy that sends each request to the next server: ``python -m tests.services.round_robin``."""

import itertools
import sys

import anyio
import httpx2
import uvicorn
from starlette.types import Receive, Scope, Send

from mcp_orchestrator.server.forwarding import forward


class RoundRobin:
    """Takes turns among servers, request by request, whatever they belong to."""

    def __init__(self, urls: list[str]) -> None:
        self._turns = itertools.cycle(urls)
        self._http = httpx2.AsyncClient()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await forward(self._http, next(self._turns), scope, receive, send)


async def main(port: int, urls: list[str]) -> None:
    config = uvicorn.Config(
        RoundRobin(urls), host="127.0.0.1", port=port, log_config=None, lifespan="off"
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), sys.argv[2:])
