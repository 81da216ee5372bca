"""How clients reach the server: stdio, Streamable HTTP, and SSE for clients that still need it."""

import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import cast

import anyio
import uvicorn
from anyio import sleep_forever
from mcp.server import MCPServer
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.routes import create_protected_resource_routes
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.runtime import Runtime
from mcp_orchestrator.server.app import build_server
from mcp_orchestrator.server.auth.addresses import in_brackets, refuse_open_bind, transport_security
from mcp_orchestrator.server.auth.bearer import auth_settings, principal_of
from mcp_orchestrator.server.auth.gate import CountRefusals, LimitRate
from mcp_orchestrator.server.auth.principal import ADMIN
from mcp_orchestrator.server.auth.rate import RateLimit
from mcp_orchestrator.server.auth.refusals import Refusals
from mcp_orchestrator.server.session_routing import RouteSessions
from mcp_orchestrator.server.standard_streams import StandardStreams

_log = logging.getLogger(__name__)
#: How long open connections get to end at shutdown, in seconds.
_GRACE_SECONDS = 1
#: Connections that may wait to be accepted.
_BACKLOG = 2048


async def serve_stdio(runtime: Runtime, streams: StandardStreams) -> None:
    """Serve the one client at the other end of the pipes, until it closes its end."""
    server = build_server(runtime, Refusals(runtime.metrics))
    core = server._lowlevel_server  # pyright: ignore[reportPrivateUsage]  # no public way in
    lines = cast("anyio.AsyncFile[str]", streams.lines)
    async with stdio_server(lines, streams.output) as (incoming, outgoing):
        await core.run(incoming, outgoing, core.create_initialization_options())


@dataclass(frozen=True)
class Beside:
    """What is served beside MCP.

    Attributes:
        routes: for the web application.
        run: runs as long as it is served.
    """

    routes: Sequence[BaseRoute]
    run: Callable[[], Coroutine[object, object, None]]


async def serve_http(
    runtime: Runtime, beside: Callable[[Runtime, Refusals], Beside] | None = None
) -> None:
    """Serve any number of clients over HTTP, until the process is told to stop.

    Args:
        runtime: what is served.
        beside: builds what is served beside MCP; nothing is if left out.

    Raises:
        ConfigurationError: the address must not or cannot be listened on.
    """
    settings = runtime.settings
    refuse_open_bind(settings)
    listener = _listen(settings.host, settings.port)
    port: int = listener.getsockname()[1]
    refusals = Refusals(runtime.metrics)
    more = beside(runtime, refusals) if beside is not None else Beside((), sleep_forever)
    app = build_asgi(build_server(runtime, refusals), runtime, refusals)
    app.router.routes.extend(more.routes)
    config = uvicorn.Config(
        app,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        log_level=settings.log_level.lower(),
        log_config=None,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ws_per_message_deflate=False,  # 500 listeners would each have their own compression
    )
    paths = ("/mcp", "/sse") if settings.transport == "http" else ("/sse",)
    for path in paths:
        sys.stderr.write(f"listening on http://{in_brackets(settings.host)}:{port}{path}\n")
    sys.stderr.flush()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(more.run)
        await uvicorn.Server(config).serve(sockets=[listener])
        tasks.cancel_scope.cancel()


def build_asgi(server: MCPServer[None], runtime: Runtime, refusals: Refusals) -> Starlette:
    """Build the web application: ``/sse`` always, ``/mcp`` unless only SSE is wanted.

    Besides them ``/health`` tells that the process is alive, and ``/metrics`` is for Prometheus;
    where people sign in, it asks for a token with the scope ``admin:read``.
    """
    settings = runtime.settings
    security = transport_security(settings)
    watching: list[BaseRoute] = [
        Route("/health", _alive),
        Route("/metrics", _metrics_page(runtime.metrics, security, open_to_all=not settings.auth)),
    ]
    app = server.sse_app(host=settings.host, transport_security=security)
    if settings.transport == "http":
        sse = app.router.routes
        app = server.streamable_http_app(host=settings.host, transport_security=security)
        app.router.routes.extend(sse)
    app.router.routes.extend(watching)
    auth = auth_settings(settings)
    if auth is not None and auth.resource_server_url is not None:
        app.router.routes[:0] = create_protected_resource_routes(  # RFC 9728
            auth.resource_server_url,
            [auth.issuer_url],
            scopes_supported=["read", "write", "admin"],
            resource_name=server.title,
        )
    if settings.auth and settings.requests_per_minute is not None:
        limit = RateLimit(settings.requests_per_minute, runtime.clock)
        app.user_middleware.append(Middleware(LimitRate, limit=limit))  # below the token's check
    if settings.replica_url is not None and settings.transport == "http":
        app.add_middleware(
            RouteSessions,
            own_url=settings.replica_url,
            key=runtime.serving.key,
            security=security,
        )
    app.add_middleware(CountRefusals, refusals=refusals)
    return app


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's algorithm only where TCP is named; with it an answer takes 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Settings host and port: {host}:{port} cannot be listened on ({error.strerror}).",
            remedy="Choose another port, or 0 for a free one.",
        ) from error
    listener.listen(_BACKLOG)  # who reads that we listen may connect at once
    return listener


async def _alive(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def _metrics_page(
    metrics: CollectorRegistry, security: TransportSecuritySettings, *, open_to_all: bool
) -> Callable[[Request], Awaitable[Response]]:
    checks = TransportSecurityMiddleware(security)

    async def show(request: Request) -> Response:
        if (refusal := await checks.validate_request(request)) is not None:
            return refusal
        if not open_to_all:
            user = request.scope.get("user")
            if not isinstance(user, AuthenticatedUser):
                return Response("Sign in first.", 401, {"WWW-Authenticate": "Bearer"})
            if not principal_of(user.access_token).may(ADMIN, write=False):
                return Response("Your token lacks the scope admin:read.", 403)
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    return show
