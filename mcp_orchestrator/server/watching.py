"""Telling clients that a resource has changed, whichever process changed it.

What clients watch is looked at once a second, and only that: the store is the one place where
every server and worker meets, so that no replica can miss what another one did. Clients of the
handshake era ask by ``resources/subscribe``, those of the modern one by ``subscriptions/listen``.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, Final

import anyio
from mcp.server import MCPServer
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver.exceptions import ResourceError
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    InputRequiredResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.server.auth.caller import Caller, calling
from mcp_orchestrator.server.auth.principal import LOCAL

_log = logging.getLogger(__name__)
_LOOK_EVERY: Final = 1.0
#: The key of a connection's scratch state under which its subscriptions are.
_STATE: Final = "mcp_orchestrator.subscriptions"

Send = Callable[[str], Awaitable[None]]
Context = ServerRequestContext[Any, Any]


class ResourceWatch:
    """Looks at watched resources, and tells whoever watches them of changes.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.bus = InMemorySubscriptionBus()
        self._listen = ListenHandler(self.bus)
        self._watched: Counter[str] = Counter()
        self._seen: dict[str, str] = {}
        self._subscribers: dict[str, list[Send]] = {}
        self._turn = anyio.Lock()

    def serve(self, server: MCPServer[None]) -> None:
        """Answer the subscriptions of a server's clients, of both eras."""
        core = server._lowlevel_server  # pyright: ignore[reportPrivateUsage]  # no public way in

        async def listen(
            ctx: Context, params: SubscriptionsListenRequestParams
        ) -> SubscriptionsListenResult:
            wanted = params.notifications.resource_subscriptions or []
            digests = {uri: await _digest(server, uri) for uri in wanted}
            readable = {uri: digest for uri, digest in digests.items() if digest is not None}
            shown = {"resource_subscriptions": list(readable)}
            chosen = params.notifications.model_copy(update=shown)
            with self._watching(readable):
                return await self._listen(ctx, params.model_copy(update={"notifications": chosen}))

        async def subscribe(ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
            if (digest := await _digest(server, params.uri)) is None:
                raise MCPError(code=INVALID_PARAMS, message=f"Unknown resource: {params.uri}")
            connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage]  # its end is nowhere else
            mine: dict[str, ExitStack] = connection.state.setdefault(_STATE, {})
            if params.uri not in mine:
                held = connection.exit_stack.enter_context(ExitStack())
                held.enter_context(self._watching({params.uri: digest}))
                held.enter_context(self._telling(params.uri, ctx.session.send_resource_updated))
                mine[params.uri] = held
            return EmptyResult()

        async def unsubscribe(ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
            connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage]  # as above
            mine: dict[str, ExitStack] = connection.state.get(_STATE, {})
            if (held := mine.pop(params.uri, None)) is not None:
                held.close()
            return EmptyResult()

        core.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, listen)
        core.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
        core.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)

    @asynccontextmanager
    async def lifespan(self, server: MCPServer[None]) -> AsyncGenerator[None]:
        """Look at what is watched for as long as a server serves."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_for_ever, server)
            yield
            tasks.cancel_scope.cancel()

    async def _look_for_ever(self, server: MCPServer[None]) -> None:
        async with self._turn:  # over SSE every connection begins a lifespan; one look is enough
            while True:
                await self._clock.sleep(_LOOK_EVERY)
                for uri in list(self._watched):
                    await self._look(server, uri)

    async def _look(self, server: MCPServer[None], uri: str) -> None:
        with calling(Caller(LOCAL)):  # who may watch it was decided when they asked
            digest = await _digest(server, uri)
        if digest is None or uri not in self._watched or self._seen.get(uri) == digest:
            return
        self._seen[uri] = digest
        await self.bus.publish(ResourceUpdated(uri=uri))
        for send in list(self._subscribers.get(uri, ())):
            try:
                await send(uri)
            except Exception:  # a client that is going must not keep the others from knowing
                _log.debug("A client could not be told that %s changed.", uri, exc_info=True)

    @contextmanager
    def _watching(self, uris: Mapping[str, str]) -> Generator[None]:
        """Look at resources for the length of a block; the digests are what the client knows."""
        self._watched.update(uris.keys())
        for uri, digest in uris.items():
            self._seen.setdefault(uri, digest)
        try:
            yield
        finally:
            for uri in uris:
                self._watched[uri] -= 1
                if self._watched[uri] <= 0:
                    del self._watched[uri]
                    self._seen.pop(uri, None)

    @contextmanager
    def _telling(self, uri: str, send: Send) -> Generator[None]:
        """Tell one client of the handshake era of a resource's changes, for a block's length."""
        sends = self._subscribers.setdefault(uri, [])
        sends.append(send)
        try:
            yield
        finally:
            sends.remove(send)
            if not sends:
                del self._subscribers[uri]


async def _digest(server: MCPServer[None], uri: str) -> str | None:
    """Return a digest of what the caller reads there, or None where they can read nothing."""
    try:
        found = await server.read_resource(uri)
    except ResourceError:
        return None
    if isinstance(found, InputRequiredResult):
        return None
    digest = hashlib.sha256()
    for part in found:
        digest.update(part.content if isinstance(part.content, bytes) else part.content.encode())
    return digest.hexdigest()
