"""Sessions of the handshake era behind one address: each request finds the server that has it.

Such a session is a conversation with one process: that process asks the client, and hears its
answers. So its id says where it is, sealed under the key of the store, and a server that is handed
somebody else's request hands it on. The modern era has no sessions and needs none of this.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

import httpx2
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_orchestrator.server.forwarding import forward

_HEADER: Final = b"mcp-session-id"
#: Says that a request has been handed on once: twice would be going round in circles.
_FORWARDED: Final = b"x-mcp-forwarded"
_LABEL: Final = b"mcp-orchestrator/session-route/v1"
Headers = Iterable[tuple[bytes, bytes]]


class RouteSessions:
    """Writes this server's address into the ids of its sessions, and hands others' requests on.

    Args:
        app: the layers below.
        own_url: where the other servers reach this one, without a path.
        key: what all servers on the store share.
        security: which Host and Origin are let through; checked before a request is handed on.
    """

    def __init__(
        self, app: ASGIApp, own_url: str, key: bytes, security: TransportSecuritySettings
    ) -> None:
        self._app = app
        self._own_url = own_url.rstrip("/")
        self._key = hmac.digest(key, _LABEL, hashlib.sha256)
        self._checks = TransportSecurityMiddleware(security)
        self._http: httpx2.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request here, or have it answered where its session is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        session_id, url = self._read(headers.get(_HEADER, b"").decode("latin-1"))
        if url in (None, self._own_url) or _FORWARDED in headers:
            here = _with_session(scope["headers"], session_id) if url else scope["headers"]
            await self._app({**scope, "headers": here}, receive, self._signing(send))
            return
        if (refusal := await self._checks.validate_request(Request(scope))) is not None:
            await refusal(scope, receive, send)
            return
        if self._http is None:
            self._http = httpx2.AsyncClient()
        await forward(self._http, str(url), scope, receive, send, mark=[(_FORWARDED, b"1")])

    def _signing(self, send: Send) -> Send:
        async def signed(message: Message) -> None:
            headers = message.get("headers")
            if message["type"] == "http.response.start" and headers:
                given = dict(headers).get(_HEADER)
                if given is not None:
                    where = self._write(given.decode("latin-1"))
                    message = {**message, "headers": _with_session(headers, where)}
            await send(message)

        return signed

    def _write(self, session_id: str) -> str:
        url = base64.urlsafe_b64encode(self._own_url.encode()).decode().rstrip("=")
        return f"{session_id}.{url}.{self._seal(session_id, self._own_url)}"

    def _read(self, text: str) -> tuple[str, str | None]:
        """Return the session's own id, and where it is if a server of ours has said so."""
        session_id, _, rest = text.partition(".")
        encoded, _, seal = rest.partition(".")
        try:
            url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except (binascii.Error, ValueError):  # whoever wrote it, it was none of us
            return text, None
        if not seal.isascii() or not hmac.compare_digest(seal, self._seal(session_id, url)):
            return text, None
        return session_id, url

    def _seal(self, session_id: str, url: str) -> str:
        return hmac.new(self._key, f"{session_id} {url}".encode(), hashlib.sha256).hexdigest()[:32]


def _with_session(headers: Headers, session_id: str) -> list[tuple[bytes, bytes]]:
    others = [pair for pair in headers if pair[0].lower() != _HEADER]
    return [*others, (_HEADER, session_id.encode("latin-1"))]
