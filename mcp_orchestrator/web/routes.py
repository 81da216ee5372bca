"""Everything that is served beside MCP."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import Gauge
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from mcp_orchestrator.runtime import Runtime
from mcp_orchestrator.server import Beside
from mcp_orchestrator.server.auth.access import Access
from mcp_orchestrator.server.auth.addresses import transport_security
from mcp_orchestrator.server.auth.bearer import build_verifier
from mcp_orchestrator.server.auth.refusals import Refusals
from mcp_orchestrator.server.owned import Workspace, workspace_of
from mcp_orchestrator.web.endpoint import PREFIX, Endpoint, problem, route
from mcp_orchestrator.web.events import EventSocket
from mcp_orchestrator.web.feed import EventFeed
from mcp_orchestrator.web.openapi import openapi_document
from mcp_orchestrator.web.orders_api import order_endpoints
from mcp_orchestrator.web.queue_api import queue_endpoints
from mcp_orchestrator.web.runs_api import run_endpoints
from mcp_orchestrator.web.sagas_api import saga_endpoints
from mcp_orchestrator.web.snapshots import Snapshots

DOCUMENT: Final = f"{PREFIX}/openapi.json"


def open_web(runtime: Runtime, refusals: Refusals) -> Beside:
    """Build the HTTP API and the event stream.

    Args:
        runtime: what they show, each request narrowed to its caller.
        refusals: where refused requests are counted.
    """
    settings = runtime.settings
    workspace = workspace_of(runtime, refusals)
    access = Access(
        transport_security(settings),
        build_verifier(settings, runtime.tokens, runtime.clock),
        refusals,
    )
    feed = EventFeed(runtime.database, runtime.queue, runtime.clock)
    listeners = Gauge("web_listeners", "Open event streams.", registry=runtime.metrics)
    listeners.set_function(lambda: feed.listeners)
    snapshots = Snapshots(feed, workspace, access)
    socket = EventSocket(feed, snapshots, access, runtime.clock)
    endpoints = all_endpoints(workspace)
    routes: list[BaseRoute] = [route(one, access) for one in endpoints]
    routes += [_document(endpoints, access), Route(f"{PREFIX}/{{rest:path}}", _unknown)]
    return Beside([*routes, socket.route], feed.run)


def all_endpoints(workspace: Workspace) -> list[Endpoint]:
    """Return every endpoint of the HTTP API."""
    return [
        *queue_endpoints(workspace),
        *saga_endpoints(workspace),
        *order_endpoints(workspace),
        *run_endpoints(workspace),
    ]


def _document(endpoints: Sequence[Endpoint], access: Access) -> Route:
    document = openapi_document(endpoints)

    async def show(request: Request) -> Response:
        refusal = await access.refusal(request, is_post=False)
        return JSONResponse(document) if refusal is None else refusal

    return Route(DOCUMENT, show)


async def _unknown(_request: Request) -> Response:
    return problem(404, "not_found", "There is no such endpoint.", f"See {DOCUMENT}.")
