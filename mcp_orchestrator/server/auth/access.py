"""Who asks over HTTP: the same tokens, scopes, hosts and origins as for MCP."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from mcp_orchestrator.errors import ForbiddenError
from mcp_orchestrator.server.auth.bearer import principal_of
from mcp_orchestrator.server.auth.caller import Caller, calling
from mcp_orchestrator.server.auth.principal import LOCAL
from mcp_orchestrator.server.auth.refusals import Refusal, Refusals
from mcp_orchestrator.telemetry.correlation import correlated

#: A browser cannot set headers on a WebSocket; it offers its token as a subprotocol of this form.
TOKEN_PROTOCOL = "bearer."


class SignInError(Exception):
    """Nobody has signed in, where people have to."""


class Access:
    """Decides who may ask for what.

    Args:
        security: which hosts and origins are ours.
        verifier: what verifies tokens; None where nobody signs in.
        refusals: where refusals are counted.
    """

    def __init__(
        self,
        security: TransportSecuritySettings,
        verifier: TokenVerifier | None,
        refusals: Refusals,
    ) -> None:
        self._checks = TransportSecurityMiddleware(security)
        self._verifier = verifier
        self._refusals = refusals

    @property
    def needs_token(self) -> bool:
        """Whether people sign in."""
        return self._verifier is not None

    async def refusal(self, connection: HTTPConnection, *, is_post: bool) -> Response | None:
        """Return the answer to a request from a foreign host or page; None for others."""
        request = cast("Request", connection)  # of which only the headers are looked at
        return await self._checks.validate_request(request, is_post=is_post)

    def caller(self, connection: HTTPConnection) -> Caller:
        """Return who asks.

        Raises:
            SignInError: nobody known does.
        """
        address = connection.client.host if connection.client is not None else None
        if self._verifier is None:
            return Caller(LOCAL, address)
        user = connection.scope.get("user")
        if not isinstance(user, AuthenticatedUser):
            raise SignInError
        return Caller(principal_of(user.access_token), address)

    async def listener(self, socket: WebSocket) -> Caller:
        """Return who asks by a WebSocket, with a token in a header or among the subprotocols.

        Raises:
            SignInError: nobody known does.
        """
        try:
            return self.caller(socket)
        except SignInError:
            access = await self._offered(socket)
            if access is None:
                self._refusals.count(Refusal.NO_VALID_TOKEN)
                raise
            address = socket.client.host if socket.client is not None else None
            return Caller(principal_of(access), address)

    async def _offered(self, socket: WebSocket) -> AccessToken | None:
        for protocol in socket.scope.get("subprotocols", ()):
            if protocol.startswith(TOKEN_PROTOCOL) and self._verifier is not None:
                return await self._verifier.verify_token(protocol.removeprefix(TOKEN_PROTOCOL))
        return None

    @contextmanager
    def acting(self, caller: Caller, toolset: str, *, write: bool) -> Generator[None]:
        """Answer on behalf of a caller for the length of a block.

        Raises:
            ForbiddenError: their scopes do not cover it.
        """
        if not caller.principal.may(toolset, write=write):
            self._refusals.count(Refusal.SCOPE)
            scope = f"{toolset}:{'write' if write else 'read'}"
            raise ForbiddenError(
                f"Your token lacks the scope {scope}; nothing was done.",
                remedy="Ask whoever runs the server for it.",
            )
        with calling(caller), correlated(principal=caller.owner):
            yield
