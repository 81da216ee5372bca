"""Clients that send a token, each its own."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_orchestrator.runtime import open_tokens
from mcp_orchestrator.settings import Settings
from tests.services.orchestrator import MODERN, HttpServer


async def make_token(
    data_dir: Path, principal: str, scopes: Sequence[str], *, expires_at: datetime | None = None
) -> str:
    """Make a token for the servers of a data folder."""
    async with open_tokens(Settings.model_validate({"data_dir": data_dir})) as tokens:
        token, _ = await tokens.create(principal, scopes, expires_at=expires_at)
    return token


def bearer(token: str) -> dict[str, str]:
    """Return the header that a token is sent in."""
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def signed_in(server: HttpServer, token: str, mode: str = MODERN) -> AsyncGenerator[Client]:
    """Connect a client that sends a token."""
    async with httpx2.AsyncClient(headers=bearer(token), timeout=60) as http:
        transport = streamable_http_client(server.url("/mcp"), http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client
