"""The outermost layer over HTTP: counts what is refused, and who asks too often."""

import math
from typing import Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_orchestrator.server.auth.bearer import principal_of
from mcp_orchestrator.server.auth.rate import RateLimit
from mcp_orchestrator.server.auth.refusals import Refusal, Refusals

#: Which refusal a status of the transport stands for.
_BY_STATUS: Final = {
    401: Refusal.NO_VALID_TOKEN,
    403: Refusal.FOREIGN_ORIGIN,
    413: Refusal.TOO_LARGE,
    421: Refusal.FOREIGN_HOST,
    429: Refusal.TOO_OFTEN,
}


class CountRefusals:
    """Counts the requests that the layers below refuse.

    Args:
        app: the layers below.
        refusals: where they are counted.
    """

    def __init__(self, app: ASGIApp, refusals: Refusals) -> None:
        self._app = app
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, looking at the status of the answer."""

        async def watch(message: Message) -> None:
            reason = _BY_STATUS.get(message.get("status", 0))
            if message["type"] == "http.response.start" and reason is not None:
                self._refusals.count(reason)
            await send(message)

        await self._app(scope, receive, watch)


class LimitRate:
    """Refuses a principal that asks too often; stands below the check of its token.

    Args:
        app: the layers below.
        limit: how often.
    """

    def __init__(self, app: ASGIApp, limit: RateLimit) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or tell when to come back."""
        user = scope.get("user")
        if scope["type"] == "http" and isinstance(user, AuthenticatedUser):
            wait = self._limit.admit(principal_of(user.access_token).name)
            if wait > 0:
                seconds = str(math.ceil(wait))
                answer = JSONResponse(
                    {"error": "too_many_requests", "retry_after_seconds": int(seconds)},
                    status_code=429,
                    headers={"Retry-After": seconds},
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
