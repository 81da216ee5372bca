"""Where a session is can be read from its id, and only what a server of ours wrote is believed."""

import httpx2
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mcp_orchestrator.server.session_routing import RouteSessions

KEY = b"k" * 32
NOBODY = "http://127.0.0.1:9"


async def _answer(request: Request) -> PlainTextResponse:
    """Answer with the session id as it is seen here, and begin session s."""
    seen = request.headers.get("mcp-session-id", "none")
    return PlainTextResponse(seen, headers={"mcp-session-id": "s"})


def server(own_url: str, key: bytes = KEY) -> httpx2.AsyncClient:
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = Starlette(routes=[Route("/mcp", _answer)])
    routed = RouteSessions(app, own_url, key, security)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=routed), base_url="http://here")


async def test_a_session_is_known_where_it_is_and_lost_where_its_server_is_gone() -> None:
    async with server(NOBODY) as there, server("http://here") as here:
        begun = await there.get("/mcp")
        assert begun.text == "none"
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        assert session["mcp-session-id"].startswith("s.")
        assert (await there.get("/mcp", headers=session)).text == "s"
        assert (await here.get("/mcp", headers=session)).status_code == 404


async def test_nobody_else_can_say_where_a_request_goes() -> None:
    async with server(NOBODY, b"x" * 32) as stranger, server("http://here") as here:
        forged = (await stranger.get("/mcp")).headers["mcp-session-id"]
        for session_id in (forged, forged[:-1], "s.aHR0cDovL2EuYg.", "s.%%.x", "s..", "plain"):
            seen = await here.get("/mcp", headers={"mcp-session-id": session_id})
            assert (seen.status_code, seen.text) == (200, session_id)
