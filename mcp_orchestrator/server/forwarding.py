"""Handing an HTTP request on to another server, its answer streamed as it comes."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import anyio
import httpx2
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

#: Headers that belong to one connection (RFC 9110, section 7.6.1), and those that httpx sets.
_OF_THE_CONNECTION: Final = frozenset(
    {
        b"connection", b"content-length", b"host", b"keep-alive", b"proxy-authenticate",
        b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
#: An event stream may be silent for ever; only reaching the other server has a limit.
_TIMEOUT: Final = httpx2.Timeout(None, connect=5.0)


async def forward(
    http: httpx2.AsyncClient,
    base_url: str,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    mark: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send a request to another server, and its answer back.

    Args:
        http: the connections.
        base_url: the other server, without a path.
        scope: the request, as ASGI has it.
        receive: gives its body, and tells when the client goes.
        send: takes the answer; a 404 where the other server cannot be reached, upon which
            clients of MCP begin a new session.
        mark: headers that the other server shall see besides.
    """
    query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
    headers = [pair for pair in scope["headers"] if pair[0].lower() not in _OF_THE_CONNECTION]
    if scope.get("client"):
        headers.append((b"x-forwarded-for", scope["client"][0].encode()))
    body = await _whole_body(receive)
    request = http.build_request(
        scope["method"],
        f"{base_url}{scope['path']}{query}",
        headers=[*headers, *mark],
        content=body,
        timeout=_TIMEOUT,
    )
    async with anyio.create_task_group() as tasks:

        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(until_gone)
        try:
            answer = await http.send(request, stream=True)
        except httpx2.TransportError:
            await JSONResponse({"error": "session not found"}, 404)(scope, receive, send)
        else:
            await _send_back(answer, send)
        tasks.cancel_scope.cancel()


async def _send_back(answer: httpx2.Response, send: Send) -> None:
    kept = [pair for pair in answer.headers.raw if pair[0].lower() not in _OF_THE_CONNECTION]
    try:
        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
        async for part in _parts(answer):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        with anyio.CancelScope(shield=True):
            await answer.aclose()


async def _parts(answer: httpx2.Response) -> AsyncGenerator[bytes]:
    """Give the body as it comes; a server that dies in the middle ends it."""
    try:
        async for part in answer.aiter_raw():
            yield part
    except httpx2.TransportError:
        return


async def _whole_body(receive: Receive) -> bytes:
    """Return a request's body; what is too large is refused by the server that reads it."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
