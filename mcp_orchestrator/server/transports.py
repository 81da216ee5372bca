"""How clients reach the server: stdio, Streamable HTTP, and SSE for clients that still need it."""

import ipaddress
import logging
import socket
import sys
from collections.abc import Callable
from typing import cast

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.runtime import Runtime
from mcp_orchestrator.server.app import build_server
from mcp_orchestrator.server.standard_streams import StandardStreams
from mcp_orchestrator.settings import Settings

_log = logging.getLogger(__name__)
#: How long open connections get to end at shutdown, in seconds.
_GRACE_SECONDS = 1


async def serve_stdio(runtime: Runtime, streams: StandardStreams) -> None:
    """Serve the one client at the other end of the pipes, until it closes its end."""
    core = build_server(runtime)._lowlevel_server  # pyright: ignore[reportPrivateUsage]  # no public way in
    lines = cast("anyio.AsyncFile[str]", streams.lines)
    async with stdio_server(lines, streams.output) as (incoming, outgoing):
        await core.run(incoming, outgoing, core.create_initialization_options())


async def serve_http(runtime: Runtime) -> None:
    """Serve any number of clients over HTTP, until the process is told to stop.

    Raises:
        ConfigurationError: the address must not or cannot be listened on.
    """
    settings = runtime.settings
    refuse_open_bind(settings)
    listener = _listen(settings.host, settings.port)
    port: int = listener.getsockname()[1]
    config = uvicorn.Config(
        build_asgi(build_server(runtime), settings, runtime.metrics),
        log_level=settings.log_level.lower(),
        log_config=None,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    paths = ("/mcp", "/sse") if settings.transport == "http" else ("/sse",)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    for path in paths:
        sys.stderr.write(f"listening on http://{host}:{port}{path}\n")
    sys.stderr.flush()
    await uvicorn.Server(config).serve(sockets=[listener])


def build_asgi(
    server: MCPServer[None], settings: Settings, metrics: CollectorRegistry
) -> Starlette:
    """Build the web application: ``/sse`` always, ``/mcp`` unless only SSE is wanted.

    Besides them ``/health`` tells that the process is alive, and ``/metrics`` is for Prometheus.
    """
    security = _transport_security(settings)
    sse = server.sse_app(host=settings.host, transport_security=security)
    watching: list[BaseRoute] = [
        Route("/health", _alive),
        Route("/metrics", _metrics_page(metrics)),
    ]
    if settings.transport == "sse":
        sse.router.routes.extend(watching)
        return sse
    app = server.streamable_http_app(host=settings.host, transport_security=security)
    app.router.routes.extend([*sse.router.routes, *watching])
    return app


def refuse_open_bind(settings: Settings) -> None:
    """Refuse to listen where strangers could reach a server that runs code for anyone.

    Raises:
        ConfigurationError: the address is not loopback and nobody has said that this is wanted.
    """
    if settings.allow_remote_without_auth or _is_loopback(settings.host):
        return
    raise ConfigurationError(
        f"Setting host: {settings.host} can be reached from other machines, without any sign-in.",
        remedy="Listen on 127.0.0.1 behind a proxy that signs people in, or set"
        " allow_remote_without_auth if the network is yours alone.",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _transport_security(settings: Settings) -> TransportSecuritySettings:
    names = {settings.host, "127.0.0.1", "localhost", "[::1]"}
    if not _is_loopback(settings.host):
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[f"{name}:*" for name in names],
        allowed_origins=[f"http://{name}:*" for name in names],
    )


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
    return listener


async def _alive(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def _metrics_page(metrics: CollectorRegistry) -> Callable[[Request], Response]:
    def show(_request: Request) -> Response:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    return show
