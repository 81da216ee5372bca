"""Record and replay of provider traffic, so that a loop can be run again bit for bit.

A cassette is a file with one JSON object a line: a request and its answer. No request header is
kept, of the answer's headers only those that matter, and keys are taken out of both bodies.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import anyio
import httpx
from pydantic import TypeAdapter, ValidationError

from mcp_orchestrator.agents.failures import FailedAttempt
from mcp_orchestrator.agents.redaction import redact
from mcp_orchestrator.errors import ConfigurationError, ProviderRejectedError

_KEPT_HEADERS: Final = ("content-type", "retry-after")
_BREAKS: Final[dict[str, type[httpx.TransportError]]] = {
    kind.__name__: kind
    for kind in (
        httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout, httpx.WriteTimeout,
        httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Interaction:
    """One request and its answer.

    Args:
        method: GET or POST.
        path: below the host.
        asked: the request's body.
        status: the HTTP status; 0 when no answer began.
        headers: those of the answer that matter.
        answered: the answer's body, as far as it came.
        broke: how the connection broke after that; empty when it did not.
    """

    method: str
    path: str
    asked: str
    status: int
    headers: dict[str, str]
    answered: str
    broke: str = ""

    @property
    def key(self) -> str:
        """What a request has to look like to get this answer."""
        return _key(self.method, self.path, self.asked)


_INTERACTIONS = TypeAdapter(Interaction)


def recorder(path: Path, *, secrets: tuple[str, ...] = ()) -> httpx.AsyncBaseTransport:
    """Return a transport that asks the network and appends all it sees to a cassette.

    Args:
        path: the cassette; made if it is not there.
        secrets: what must not get into it, besides what looks like a key.
    """
    return _Recorder(path, secrets)


def player(path: Path) -> httpx.AsyncBaseTransport:
    """Return a transport that answers from a cassette and never touches the network.

    Equal requests get their answers in the order in which they were recorded; a request that is
    not in the cassette is a ``ProviderRejectedError``.

    Raises:
        ConfigurationError: the file is missing or is not a cassette.
    """
    return _Player(path, _read(path))


class _Recorder(httpx.AsyncBaseTransport):
    def __init__(self, path: Path, secrets: tuple[str, ...]) -> None:
        self._path = path
        self._secrets = secrets
        self._network = httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=20)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"  # what we keep has to be readable
        asked = _body(request, self._secrets)
        path = request.url.raw_path.decode()
        try:
            response = await self._network.handle_async_request(request)
        except httpx.TransportError as error:
            await self.keep(Interaction(request.method, path, asked, 0, {}, ""), b"", error)
            raise
        kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        interaction = Interaction(request.method, path, asked, response.status_code, kept, "")
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Recording(self, response, interaction),
            extensions=response.extensions,
        )

    async def keep(
        self, interaction: Interaction, received: bytes, error: httpx.TransportError | None
    ) -> None:
        broke = type(error).__name__ if error is not None else ""
        answered = redact(received.decode(errors="replace"), *self._secrets)
        line = json.dumps(asdict(interaction) | {"answered": answered, "broke": broke})
        async with await anyio.open_file(self._path, "a", encoding="utf-8") as file:
            await file.write(line + "\n")

    async def aclose(self) -> None:
        await self._network.aclose()


class _Recording(httpx.AsyncByteStream):
    """Hands the pieces of an answer on and keeps a copy when it has come to its end."""

    def __init__(
        self, recorder: _Recorder, response: httpx.Response, interaction: Interaction
    ) -> None:
        self._recorder = recorder
        self._response = response
        self._interaction = interaction
        self._received = bytearray()
        self._error: httpx.TransportError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.aiter_raw():
                self._received += piece
                yield piece
        except httpx.TransportError as error:
            self._error = error
            raise

    async def aclose(self) -> None:
        """Keep what came: a stream's reader may leave at its last event, before the very end."""
        with anyio.CancelScope(shield=True):
            await self._response.aclose()
            await self._recorder.keep(self._interaction, bytes(self._received), self._error)


class _Player(httpx.AsyncBaseTransport):
    def __init__(self, path: Path, interactions: list[Interaction]) -> None:
        self._path = path
        self._left: dict[str, list[Interaction]] = defaultdict(list)
        for interaction in interactions:
            self._left[interaction.key].append(interaction)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        left = self._left[_key(request.method, path, _body(request, ()))]
        if not left:
            raise FailedAttempt(
                ProviderRejectedError(
                    f"The recording {self._path.name} holds no further answer to this "
                    f"{request.method} {path}.",
                    provider="recording",
                    remedy="Replay with the settings and the inputs of the recording.",
                ),
                may_retry=False,
            )
        found = left.pop(0)
        if not found.status:
            raise _break(found)
        return httpx.Response(found.status, headers=found.headers, stream=_Replay(found))


class _Replay(httpx.AsyncByteStream):
    def __init__(self, interaction: Interaction) -> None:
        self._interaction = interaction

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._interaction.answered.encode()
        if self._interaction.broke:
            raise _break(self._interaction)


def _break(interaction: Interaction) -> httpx.TransportError:
    kind = _BREAKS.get(interaction.broke, httpx.RemoteProtocolError)
    return kind("the connection broke here when it was recorded")


def _read(path: Path) -> list[Interaction]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [_INTERACTIONS.validate_json(line) for line in lines if line.strip()]
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} is not a recording of provider traffic.",
            remedy="Name a file that was written while recording.",
        ) from error


def _body(request: httpx.Request, secrets: tuple[str, ...]) -> str:
    return redact(request.content.decode(errors="replace"), *secrets)


def _key(method: str, path: str, body: str) -> str:
    return hashlib.sha256(f"{method} {path}\n{body}".encode()).hexdigest()
