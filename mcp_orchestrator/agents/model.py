"""The port to every model: one request, one reply, whoever answers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from mcp_orchestrator.errors import InvalidInputError

T = TypeVar("T")

#: Told in words what a long call is doing; called at most about once a second.
Progress = Callable[[str], Awaitable[None]]

#: Begins a job at the provider's and returns its id.
Begin = Callable[[], Awaitable[str]]


class RemoteJobs(Protocol):
    """Remembers the jobs that were begun at a provider's, so that a crash does not repeat them."""

    async def once(self, name: str, begin: Begin) -> str:
        """Return the id that is known under a name, or begin the job and keep its id."""
        ...


#: How much a model is asked to think, from least to most (Perplexity's words).
EFFORTS: Final = ("fast", "low", "medium", "high", "xhigh")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class SearchOptions:
    """What a model that searches the web may look at.

    Args:
        context_size: how much of what was found the model reads.
        domains: only these domains; a leading ``-`` excludes one.
        recency: nothing older than this.
        after_date: nothing published before this day, as ``MM/DD/YYYY`` (the vendor's form).
        max_results: how many results, for a search without a model.
    """

    context_size: Literal["low", "medium", "high"] = "medium"
    domains: tuple[str, ...] = ()
    recency: Literal["hour", "day", "week", "month", "year"] | None = None
    after_date: str | None = None
    max_results: int = 10


@dataclass(frozen=True)
class ModelRequest:
    """What is asked of a model.

    Args:
        messages: the conversation so far, oldest first; at least one.
        max_tokens: the longest answer, in tokens.
        temperature: 0 to 2; None for the model's own. Models that think ignore it.
        seed: for servers that can repeat an answer; also keeps cached answers apart.
        thinking: whether to think first; None for the model's own habit.
        effort: how hard to think, one of ``EFFORTS``; None for the model's own.
        json_object: the answer must be one JSON object.
        stop: the answer ends before any of these.
        search: search the web, where the model can.
        owner: the principal who pays; isolates caches.
        saga_id: the saga that asks.
        purpose: what for, for the ledger and for people, such as ``"loop.candidate.2"``.
        fresh: never answer from a cache.

    Raises:
        InvalidInputError: a value that no model would take.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 2048
    temperature: float | None = None
    seed: int | None = None
    thinking: bool | None = None
    effort: str | None = None
    json_object: bool = False
    stop: tuple[str, ...] = ()
    search: SearchOptions | None = None
    owner: str | None = None
    saga_id: str | None = None
    purpose: str = ""
    fresh: bool = False

    def __post_init__(self) -> None:
        if not self.messages:
            raise InvalidInputError("A model request has no messages.", remedy="Give at least one.")
        if self.max_tokens < 1:
            raise InvalidInputError(
                f"max_tokens is {self.max_tokens}.", remedy="Give a positive number."
            )
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise InvalidInputError(
                f"temperature is {self.temperature}.", remedy="Give a number from 0 to 2."
            )
        if self.effort is not None and self.effort not in EFFORTS:
            raise InvalidInputError(
                f"effort is {self.effort!r}.", remedy=f"Use one of {', '.join(EFFORTS)}."
            )

    def to_json(self) -> dict[str, object]:
        """Return plain JSON data that ``from_json`` reads."""
        return _dump(_REQUESTS, self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "ModelRequest":
        """Rebuild a request from ``to_json``'s data.

        Raises:
            InvalidInputError: the data is not a request.
        """
        return _load(_REQUESTS, data, "model request")


@dataclass(frozen=True)
class Citation:
    """A source that an answer rests on."""

    title: str
    url: str
    snippet: str = ""
    date: str | None = None


@dataclass(frozen=True)
class Usage:
    """What a call used. ``cost`` is None where neither provider nor price list tells it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = None
    currency: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether the provider told it at all."""
        return bool(self.input_tokens or self.output_tokens or self.cost)


@dataclass(frozen=True)
class ModelReply:
    """What a model answered, from which sources, and what it used.

    ``from_cache`` says that nobody was asked: ``usage`` is then what the original call used.
    """

    text: str
    reasoning: str
    citations: tuple[Citation, ...]
    usage: Usage
    provider: str
    model: str
    latency_seconds: float
    request_id: str | None
    finish_reason: str
    from_cache: bool = False

    def to_json(self) -> dict[str, object]:
        """Return plain JSON data that ``from_json`` reads."""
        return _dump(_REPLIES, self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "ModelReply":
        """Rebuild a reply from ``to_json``'s data.

        Raises:
            InvalidInputError: the data is not a reply.
        """
        return _load(_REPLIES, data, "model reply")


class Model(Protocol):
    """Anything that can answer a request."""

    @property
    def provider(self) -> str:
        """Who answers, such as ``"deepseek"``."""
        ...

    @property
    def model(self) -> str:
        """The configured model name."""
        ...

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_progress: Progress | None = None,
        jobs: RemoteJobs | None = None,
    ) -> ModelReply:
        """Ask and wait for the whole answer; cancelling stops the provider's work too.

        Args:
            request: the question.
            on_progress: told in words how it goes.
            jobs: remembers what runs at the provider's, so that asking again after a crash
                resumes it; None where nobody will ask again.

        Raises:
            ProviderRejectedError: the same request will be refused again.
            ProviderUnavailableError: it may work later.
        """
        ...

    async def check(self) -> str:
        """Say in one line that the provider answers, without paying for anything.

        Raises:
            ProviderError: it does not, and why.
        """
        ...


_REQUESTS = TypeAdapter(ModelRequest)
_REPLIES = TypeAdapter(ModelReply)


def _dump(adapter: TypeAdapter[T], value: T) -> dict[str, object]:
    return adapter.dump_python(value, mode="json")


def _load(adapter: TypeAdapter[T], data: Mapping[str, object], what: str) -> T:
    try:
        return adapter.validate_python(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            f"Stored data is not a {what}: {place}: {first['msg']}.",
            remedy="It was written by another version or by hand.",
        ) from error
