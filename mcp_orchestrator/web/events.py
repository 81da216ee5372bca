"""`/ws/events`: the event stream over a WebSocket; see docs/http-api.md for the protocol."""

import json
from typing import Annotated, Final

import anyio
from pydantic import BaseModel, BeforeValidator, Field, JsonValue, ValidationError
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ForbiddenError
from mcp_orchestrator.server.auth.access import Access, SignInError
from mcp_orchestrator.server.auth.caller import Caller
from mcp_orchestrator.web.feed import EventFeed, Filter, Listener, events_message
from mcp_orchestrator.web.snapshots import Snapshots

PATH: Final = "/ws/events"
#: The subprotocol; its number changes when messages change in a way that breaks clients.
PROTOCOL: Final = "mcp-orchestrator.events.v1"
VERSION: Final = 1
KINDS: Final = frozenset({"saga", "queue"})
#: How codes of a close are used: bad parameters, sign in (again), not allowed.
BAD_REQUEST, SIGN_IN, FORBIDDEN = 4400, 4401, 4403
#: A token may have been revoked meanwhile: after so long a listener shows it again, in seconds.
_LISTEN_AT_MOST: Final = 900.0


def _split(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


class Subscription(BaseModel):
    """What a listener asks for, as the query of the address."""

    kinds: Annotated[list[str], BeforeValidator(_split)] = sorted(KINDS)
    ids: Annotated[list[str], BeforeValidator(_split), Field(max_length=50)] = []
    cursor: Annotated[int | None, Field(ge=0)] = None

    @property
    def filter(self) -> Filter:
        """What it wants to hear of."""
        return Filter(frozenset(self.kinds), frozenset(self.ids))


class EventSocket:
    """Serves listeners.

    Args:
        feed: where events come from.
        snapshots: tell how things stand.
        access: who may listen.
        clock: the time.
    """

    def __init__(self, feed: EventFeed, snapshots: Snapshots, access: Access, clock: Clock) -> None:
        self._feed = feed
        self._snapshots = snapshots
        self._access = access
        self._clock = clock

    @property
    def route(self) -> WebSocketRoute:
        """What Starlette serves."""
        return WebSocketRoute(PATH, self.serve)

    async def serve(self, socket: WebSocket) -> None:
        """Serve one listener until they leave."""
        if await self._access.refusal(socket, is_post=False) is not None:
            await socket.close()  # before it was accepted: the handshake is answered with 403
            return
        offered: list[str] = socket.scope.get("subprotocols", [])
        await socket.accept(PROTOCOL if PROTOCOL in offered else None)
        try:
            caller = await self._access.listener(socket)
            asked = Subscription.model_validate(dict(socket.query_params))
            if unknown := set(asked.kinds) - KINDS:
                await socket.close(
                    BAD_REQUEST, f"kinds are saga and queue, not {unknown.pop()[:40]}"
                )
                return
            with self._feed.listening(caller.principal, asked.filter) as listener:
                with anyio.move_on_after(_LISTEN_AT_MOST if self._access.needs_token else None):
                    await self._talk(socket, listener, caller, asked)
                await socket.close(SIGN_IN, "sign in again, and go on from your cursor")
        except SignInError:
            await socket.close(SIGN_IN, "sign in first")
        except ForbiddenError as error:
            await socket.close(FORBIDDEN, error.message[:100])
        except ValidationError as error:
            await socket.close(BAD_REQUEST, error.errors()[0]["msg"][:100])
        except WebSocketDisconnect:
            return

    async def _talk(
        self, socket: WebSocket, listener: Listener, caller: Caller, asked: Subscription
    ) -> None:
        position = await self._feed.catch_up()
        await _send(socket, {"type": "hello", "version": VERSION, "cursor": position})
        await self._replay(socket, listener, caller, asked.cursor)
        async with anyio.create_task_group() as tasks:

            async def tell() -> None:
                while True:
                    await self._tell_news(socket, listener, caller)

            tasks.start_soon(tell)
            try:
                while True:  # nothing is asked later; what comes is only the end
                    await socket.receive_text()
            except (WebSocketDisconnect, KeyError):  # KeyError: it sent bytes
                tasks.cancel_scope.cancel()
        raise WebSocketDisconnect

    async def _replay(
        self, socket: WebSocket, listener: Listener, caller: Caller, cursor: int | None
    ) -> None:
        """Send what a listener has missed, or how things stand."""
        listener.missed = self._feed.position
        missed = await self._feed.since(cursor) if cursor is not None else None
        if missed is None:
            await socket.send_text(await self._snapshots.of(listener, caller))
            return
        heard = [event for event in missed if listener.hears(event)]
        if heard and "saga" in listener.filter.kinds:
            await socket.send_text(events_message(heard, self._feed.position))

    async def _tell_news(self, socket: WebSocket, listener: Listener, caller: Caller) -> None:
        await listener.news.wait()
        listener.news = anyio.Event()
        messages, listener.waiting = listener.waiting, []
        for message in messages:
            await socket.send_text(message)
        if listener.behind:
            listener.behind = False
            await socket.send_text(await self._snapshots.of(listener, caller))
            await self._clock.sleep(1.0)  # what floods us is told at most once a second


async def _send(socket: WebSocket, message: dict[str, JsonValue]) -> None:
    await socket.send_text(json.dumps(message, separators=(",", ":"), ensure_ascii=False))
