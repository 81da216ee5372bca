"""One endpoint of the HTTP API: what it is asked, what it answers, and its errors as JSON."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar, cast

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_orchestrator.errors import (
    BackendUnavailableError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    LimitExceededError,
    NotFoundError,
    OrchestratorError,
)
from mcp_orchestrator.server.auth.access import Access, SignInError

PREFIX: Final = "/api/v1"
#: The longest body of a request, in bytes.
LARGEST_BODY: Final = 2 * 1024 * 1024
PROBLEM: Final = "application/problem+json"
_STATUSES: Final[tuple[tuple[type[OrchestratorError], int], ...]] = (
    (InvalidInputError, 400),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (LimitExceededError, 422),
    (BackendUnavailableError, 503),
)
Asked = TypeVar("Asked", bound=BaseModel)


class Problem(BaseModel):
    """An error (RFC 9457)."""

    title: str
    status: int
    detail: str
    code: str
    remedy: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method: the HTTP method.
        path: below ``/api/v1``; names in braces are fields of ``asks``.
        summary: what it does, in one sentence.
        toolset: whose scopes it asks for, ``:write`` for a POST.
        asks: the other fields are the query of a GET and the body of a POST.
        answers: what comes back.
        handle: does it, given the fields.
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    toolset: str
    asks: type[BaseModel]
    answers: type[BaseModel]
    handle: Callable[[Mapping[str, object]], Awaitable[BaseModel]]

    @property
    def name(self) -> str:
        """A name that no other endpoint has."""
        parts = [part for part in self.path.split("/") if part and not part.startswith("{")]
        ending = "_one" if self.path.endswith("}") else ""
        return "_".join([self.method.lower(), *parts]) + ending

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.method == "POST"


def endpoint(
    method: Literal["GET", "POST"],
    path: str,
    summary: str,
    *,
    toolset: str,
    asks: type[Asked],
    answers: type[BaseModel],
    handle: Callable[[Asked], Awaitable[BaseModel]],
) -> Endpoint:
    """Return an endpoint whose handler is given a checked model; see ``Endpoint``."""

    async def checked(fields: Mapping[str, object]) -> BaseModel:
        try:
            asked = asks.model_validate(fields)
        except ValidationError as error:
            raise InvalidInputError(_first(error)) from error
        return await handle(asked)

    return Endpoint(method, path, summary, toolset, asks, answers, checked)


def route(one: Endpoint, access: Access) -> Route:
    """Return what Starlette serves of an endpoint."""

    async def serve(request: Request) -> Response:
        refusal = await access.refusal(request, is_post=one.writes)
        if refusal is not None:
            return refusal
        try:
            caller = access.caller(request)
        except SignInError:
            answer = problem(401, "no_valid_token", "Sign in first.", "Send a bearer token.")
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        try:
            with access.acting(caller, one.toolset, write=one.writes):
                found = await one.handle(await _fields(request, one))
        except OrchestratorError as error:
            return problem(_status_of(error), error.code, error.message, error.remedy)
        headers = {"Cache-Control": "no-store"}
        return Response(found.model_dump_json(), headers=headers, media_type="application/json")

    return Route(PREFIX + one.path, serve, methods=[one.method])


def problem(status: int, code: str, detail: str, remedy: str = "") -> JSONResponse:
    """Return an error as an answer."""
    title = code.replace("_", " ").capitalize()
    body = Problem(title=title, status=status, detail=detail, code=code, remedy=remedy)
    return JSONResponse(body.model_dump(), status, media_type=PROBLEM)


async def _fields(request: Request, one: Endpoint) -> dict[str, object]:
    """Return path and query, or path and body, as one; the path wins."""
    given: dict[str, object] = {}
    if one.writes:
        given = await _body(request)
    else:
        for name in request.query_params:
            values = request.query_params.getlist(name)
            given[name] = values[0] if len(values) == 1 else values
    return {**given, **request.path_params}


async def _body(request: Request) -> dict[str, object]:
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > LARGEST_BODY:
            raise LimitExceededError(f"The body is longer than {LARGEST_BODY:,} bytes.")
    try:
        found = json.loads(received or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("The body is not JSON.") from error
    if not isinstance(found, dict):
        raise InvalidInputError("The body is not a JSON object.")
    return cast("dict[str, object]", found)


def _status_of(error: OrchestratorError) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def _first(error: ValidationError) -> str:
    one = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in one["loc"])
    return f"{where}: {one['msg']}." if where else f"{one['msg']}."
