"""The OpenAI chat completions protocol: reading whole and streamed answers; no network here."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, ValidationError

from mcp_orchestrator.agents.failures import (
    Account,
    FailedAttempt,
    JsonObject,
    failure_of_status,
    unusable_answer,
)
from mcp_orchestrator.agents.model import Citation, ModelReply, ModelRequest, Progress, Usage
from mcp_orchestrator.agents.prices import Prices
from mcp_orchestrator.agents.reporting import ProgressReporter
from mcp_orchestrator.clock import Clock

_THOUGHT = re.compile(r"\A\s*<think>(.*?)</think>\s*", re.DOTALL)


class Wire(BaseModel):
    """Data of a provider: what we do not know is ignored, what is missing has a default."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Text(Wire):
    content: str | None = None
    reasoning_content: str | None = None  # DeepSeek, vLLM, llama.cpp
    reasoning: str | None = None  # OpenRouter


class _Choice(Wire):
    message: _Text | None = None
    delta: _Text | None = None
    text: str | None = None  # fill-in-the-middle
    finish_reason: str | None = None


class _InputDetails(Wire):
    cached_tokens: int | None = None


class _OutputDetails(Wire):
    reasoning_tokens: int | None = None


class _Cost(Wire):
    total_cost: float | None = None
    currency: str | None = None


class _Usage(Wire):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    reasoning_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    cost: _Cost | float | None = None  # Perplexity: an object; OpenRouter: a number


class SearchResult(Wire):
    """A source as Perplexity names it."""

    title: str | None = None
    url: str = ""
    snippet: str | None = None
    date: str | None = None

    def citation(self) -> Citation:
        """Return it in our words."""
        return Citation(self.title or self.url, self.url, self.snippet or "", self.date)


class _Error(Wire):
    message: str | None = None
    code: int | str | None = None


class ChatPiece(Wire):
    """A whole chat completion, or one chunk of a streamed one."""

    id: str | None = None
    model: str | None = None
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    citations: tuple[str, ...] | None = None
    search_results: tuple[SearchResult, ...] | None = None
    error: _Error | str | None = None


@dataclass
class ChatAnswer:
    """Gathers the pieces of one answer."""

    text_parts: list[str] = field(default_factory=list[str])
    reasoning_parts: list[str] = field(default_factory=list[str])
    text_length: int = 0
    reasoning_length: int = 0
    finish_reason: str = ""
    request_id: str | None = None
    model: str | None = None
    citations: tuple[Citation, ...] = ()
    usage: _Usage | None = field(default=None, repr=False)

    def add(self, piece: ChatPiece) -> None:
        """Take in a piece; the first choice is the only one we ask for."""
        self.request_id = piece.id or self.request_id
        self.model = piece.model or self.model
        self.usage = piece.usage or self.usage
        if piece.search_results:
            self.citations = tuple(result.citation() for result in piece.search_results)
        elif piece.citations and not self.citations:
            self.citations = tuple(Citation(url, url) for url in piece.citations)
        for choice in piece.choices[:1]:
            said = choice.delta or choice.message or _Text()
            text = said.content or choice.text or ""
            thought = said.reasoning_content or said.reasoning or ""
            self.text_parts.append(text)
            self.reasoning_parts.append(thought)
            self.text_length += len(text)
            self.reasoning_length += len(thought)
            self.finish_reason = choice.finish_reason or self.finish_reason

    def reply(
        self, *, provider: str, model: str, latency_seconds: float, prices: Prices | None
    ) -> ModelReply:
        """Return the finished answer; a leading ``<think>`` block counts as reasoning."""
        text, reasoning = "".join(self.text_parts), "".join(self.reasoning_parts)
        thought = _THOUGHT.match(text)
        text = text[thought.end() :] if thought else text
        return ModelReply(
            text=text,
            reasoning=reasoning or (thought.group(1).strip() if thought else ""),
            citations=self.citations,
            usage=read_usage(self.usage, prices),
            provider=provider,
            model=self.model or model,
            latency_seconds=latency_seconds,
            request_id=self.request_id,
            finish_reason=self.finish_reason,
        )


def read_usage(usage: _Usage | None, prices: Prices | None) -> Usage:
    """Return what a call used; its cost as the provider says, else by the price list."""
    if usage is None:
        return Usage()
    details, output = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = usage.prompt_cache_hit_tokens or (details.cached_tokens if details else 0) or 0
    reasoning = usage.reasoning_tokens or (output.reasoning_tokens if output else 0) or 0
    told = usage.cost if isinstance(usage.cost, _Cost) else _Cost(total_cost=usage.cost)
    return priced_usage(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        told=(told.total_cost, told.currency),
        prices=prices,
    )


def priced_usage(
    *, input_tokens: int, output_tokens: int, cached_tokens: int, reasoning_tokens: int,
    told: tuple[float | None, str | None], prices: Prices | None,
) -> Usage:  # fmt: skip
    """Return usage with its cost: what the provider told, else by the price list, else None."""
    cost, currency = told
    if cost is not None:
        exact: Decimal | None = Decimal(str(cost))
        currency = currency or "USD"
    elif prices is not None:
        exact = prices.cost(
            input_tokens=input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
        )
        currency = prices.currency
    else:
        exact = currency = None
    return Usage(input_tokens, output_tokens, cached_tokens, reasoning_tokens, exact, currency)


def read_piece(data: JsonObject, account: Account) -> ChatPiece:
    """Read one JSON object of an answer.

    Raises:
        FailedAttempt: it is not one, or it tells of an error.
    """
    try:
        piece = ChatPiece.model_validate(data)
    except ValidationError as error:
        what = f"an unknown shape ({error.error_count()} fields do not fit)"
        raise unusable_answer(account, what, may_retry=False) from error
    if piece.error is not None:
        raise _told_error(piece.error, account)
    return piece


def _told_error(error: _Error | str, account: Account) -> FailedAttempt:
    """Classify an error inside an answer whose status was 200, as streams have to send it."""
    if isinstance(error, str):
        return failure_of_status(500, error, account)
    code = error.code if isinstance(error.code, int) else 500
    return failure_of_status(code if 400 <= code < 600 else 500, error.message or "", account)


def read_whole(data: JsonObject, account: Account) -> ChatAnswer:
    """Read a completion that was not streamed.

    Raises:
        FailedAttempt: it has no choice, or it tells of an error.
    """
    piece = read_piece(data, account)
    if not piece.choices:
        raise unusable_answer(account, "no choices", may_retry=False)
    answer = ChatAnswer()
    answer.add(piece)
    return _finished(answer, account)


async def read_stream(
    events: AsyncIterator[JsonObject],
    account: Account,
    clock: Clock,
    on_progress: Progress | None,
) -> ChatAnswer:
    """Read a streamed completion, telling about once a second how far it is.

    Raises:
        FailedAttempt: it broke off before its end, or it tells of an error.
    """
    answer, reporter = ChatAnswer(), ProgressReporter(clock, on_progress)
    async for event in events:
        answer.add(read_piece(event, account))
        await reporter.report(lambda: _in_words(account.provider, answer))
    if not answer.finish_reason:
        raise unusable_answer(account, "a stream that broke off", may_retry=True)
    return _finished(answer, account)


def _finished(answer: ChatAnswer, account: Account) -> ChatAnswer:
    if answer.finish_reason == "insufficient_system_resource":  # DeepSeek's word for overload
        raise failure_of_status(503, "it ran out of resources and broke off", account)
    return answer


def _in_words(provider: str, answer: ChatAnswer) -> str:
    if not answer.text_length:
        return f"{provider} is thinking: {answer.reasoning_length:,} characters so far"
    return f"{provider} is writing: {answer.text_length:,} characters so far"


def messages_json(request: ModelRequest) -> list[JsonObject]:
    """Return the conversation as the protocol has it."""
    return [{"role": message.role, "content": message.content} for message in request.messages]
