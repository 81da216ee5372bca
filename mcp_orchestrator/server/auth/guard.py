"""The middleware that knows who calls, and lets each do only what their scopes allow."""

from collections.abc import Callable
from typing import Any, Final, cast

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, INVALID_REQUEST
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import HTTPConnection

from mcp_orchestrator.server.auth.bearer import principal_of
from mcp_orchestrator.server.auth.caller import Caller, calling
from mcp_orchestrator.server.auth.principal import LOCAL, Principal
from mcp_orchestrator.server.auth.refusals import Refusal, Refusals
from mcp_orchestrator.telemetry.correlation import correlated

#: The toolset that the resources of a scheme belong to; other schemes are named after theirs.
_TOOLSET_OF_SCHEME: Final = {
    "task": "queue", "tasks": "queue", "run": "sandbox", "runs": "sandbox", "sagas": "saga",
    "loops": "loop",
}  # fmt: skip
#: Static pages that hosts show beside a tool's result; there is nothing of anybody's in them.
_PUBLIC_SCHEMES: Final = frozenset({"ui"})

Json = dict[str, Any]
#: Answers, for a tool's name, its toolset and whether it changes anything; None if unknown.
ToolKind = Callable[[str], tuple[str, bool] | None]


class Guard:
    """Sets the caller of each request; refuses and hides what their scopes do not cover.

    Args:
        tool_kind: what each tool needs.
        refusals: where refusals are counted.
        signed_in_only: whether requests over HTTP must come with a token that was verified.
    """

    def __init__(self, tool_kind: ToolKind, refusals: Refusals, *, signed_in_only: bool) -> None:
        self._tool_kind = tool_kind
        self._refusals = refusals
        self._signed_in_only = signed_in_only

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Answer one message on behalf of its sender."""
        caller = self._identify(ctx)
        principal = caller.principal
        with calling(caller), correlated(principal=principal.name):
            if principal.sees_all:
                return await call_next(ctx)
            params = ctx.params or {}
            if ctx.method == "tools/call" and (why := self._missing(principal, params)):
                return self._refuse_tool(why, ctx.protocol_version)
            if (uri := _uri_of(ctx.method, params)) and not _may_read(principal, uri):
                self._refusals.count(Refusal.SCOPE)
                raise MCPError(code=INVALID_PARAMS, message=f"Unknown resource: {uri}")
            return self._only_permitted(principal, await call_next(ctx))

    def _identify(self, ctx: ServerRequestContext[Any, Any]) -> Caller:
        request = cast("object", ctx.request)
        client = request.client if isinstance(request, HTTPConnection) else None
        address = client.host if client is not None else None
        token = get_access_token()
        if token is not None:
            return Caller(principal_of(token), address)
        if self._signed_in_only and request is not None:  # the transport has let it through
            self._refusals.count(Refusal.NO_VALID_TOKEN)
            raise MCPError(code=INVALID_REQUEST, message="Sign in first.")
        return Caller(LOCAL, address)

    def _missing(self, principal: Principal, params: Any) -> str | None:
        kind = self._tool_kind(str(params.get("name", "")))
        if kind is None or principal.may(kind[0], write=kind[1]):
            return None  # an unknown name is answered by whoever knows the names
        return f"{kind[0]}:{'write' if kind[1] else 'read'}"

    def _refuse_tool(self, scope: str, version: str) -> dict[str, Any]:
        self._refusals.count(Refusal.SCOPE)
        text = (
            f"[forbidden] Your token lacks the scope {scope}; nothing was done."
            " Ask whoever runs the server for it."
        )
        refused: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
        if version in MODERN_PROTOCOL_VERSIONS:
            refused["resultType"] = "complete"
        return refused

    def _only_permitted(self, principal: Principal, result: HandlerResult) -> HandlerResult:
        """Leave out of a list, as it goes over the wire, what the caller may not use."""
        if not isinstance(result, dict):
            return result
        if isinstance(tools := result.get("tools"), list):
            shown = [
                it for it in cast("list[Json]", tools) if self._may_call(principal, it["name"])
            ]
            return {**result, "tools": shown}
        for kind, key in (("resources", "uri"), ("resourceTemplates", "uriTemplate")):
            if isinstance(entries := result.get(kind), list):
                shown = [it for it in cast("list[Json]", entries) if _may_read(principal, it[key])]
                return {**result, kind: shown}
        return result

    def _may_call(self, principal: Principal, tool: str) -> bool:
        kind = self._tool_kind(tool)
        return kind is None or principal.may(kind[0], write=kind[1])


def _uri_of(method: str, params: Any) -> str | None:
    """Return the resource that a request is about, if it is about one."""
    if method in {"resources/read", "resources/subscribe", "resources/unsubscribe"}:
        return str(params.get("uri", ""))
    if method == "completion/complete":
        ref = params.get("ref")
        uri = cast("dict[str, object]", ref).get("uri") if isinstance(ref, dict) else None
        return str(uri) if uri else None
    return None


def _may_read(principal: Principal, uri: str) -> bool:
    scheme = uri.partition(":")[0].lower()
    toolset = _TOOLSET_OF_SCHEME.get(scheme, scheme)
    return scheme in _PUBLIC_SCHEMES or principal.may(toolset, write=False)
