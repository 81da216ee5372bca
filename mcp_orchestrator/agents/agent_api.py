"""Perplexity's Agent API: what is sent and what comes back, as data; no network here."""

from typing import Literal

from pydantic import ValidationError

from mcp_orchestrator.agents.chat_completions import SearchResult, Wire, priced_usage
from mcp_orchestrator.agents.failures import (
    Account,
    JsonObject,
    failure_of_status,
    unusable_answer,
)
from mcp_orchestrator.agents.model import Citation, ModelReply, ModelRequest, SearchOptions
from mcp_orchestrator.agents.prices import Prices

_JSON_ONLY = "Answer with one JSON object and nothing else."


class _Annotation(Wire):
    url: str | None = None
    title: str | None = None


class _Content(Wire):
    text: str | None = None
    annotations: tuple[_Annotation, ...] | None = None


class _Summary(Wire):
    text: str = ""


class _Item(Wire):
    type: str = ""
    content: tuple[_Content, ...] | None = None
    summary: tuple[_Summary, ...] | None = None
    results: tuple[SearchResult, ...] | None = None


class _Cost(Wire):
    currency: str | None = None
    total_cost: float | None = None


class _InputDetails(Wire):
    cached_tokens: int | None = None


class _OutputDetails(Wire):
    reasoning_tokens: int | None = None


class _Usage(Wire):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: _Cost | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Error(Wire):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class AgentRun(Wire):
    """One run of the Agent API, as ``/v1/responses`` describes it."""

    id: str
    model: str | None = None
    status: Literal[
        "queued", "in_progress", "completed", "failed", "cancelled", "requires_action", "incomplete"
    ]
    output: tuple[_Item, ...] | None = None
    usage: _Usage | None = None
    error: _Error | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether it is worth asking again."""
        return self.status in ("queued", "in_progress")

    @property
    def searches(self) -> int:
        """How many searches it has made so far."""
        return sum(item.type == "search_results" for item in self.output or ())


def read_run(data: JsonObject, account: Account) -> AgentRun:
    """Read a run.

    Raises:
        FailedAttempt: the data is not a run.
    """
    try:
        return AgentRun.model_validate(data)
    except ValidationError as error:
        what = f"an unknown shape ({error.error_count()} fields do not fit)"
        raise unusable_answer(account, what, may_retry=False) from error


def read_reply(
    run: AgentRun, account: Account, *, model: str, latency_seconds: float, prices: Prices | None
) -> ModelReply:
    """Return the reply of a run that has ended.

    Raises:
        FailedAttempt: it failed, was cancelled, or wants something of us.
    """
    _require_success(run, account)
    items = run.output or ()
    contents = [part for item in items if item.type == "message" for part in item.content or ()]
    thoughts = [part.text for item in items if item.type == "reasoning"
                for part in item.summary or ()]  # fmt: skip
    usage = run.usage or _Usage()
    cost = usage.cost or _Cost()
    read, written = usage.input_tokens_details, usage.output_tokens_details
    return ModelReply(
        text="".join(part.text or "" for part in contents),
        reasoning="\n".join(thoughts),
        citations=_citations(items, contents),
        usage=priced_usage(
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cached_tokens=(read.cached_tokens if read else 0) or 0,
            reasoning_tokens=(written.reasoning_tokens if written else 0) or 0,
            told=(cost.total_cost, cost.currency),
            prices=prices if run.usage is not None else None,
        ),
        provider=account.provider,
        model=run.model or model,
        latency_seconds=latency_seconds,
        request_id=run.id,
        finish_reason="stop" if run.status == "completed" else "length",
    )


def _require_success(run: AgentRun, account: Account) -> None:
    if run.status in ("completed", "incomplete"):
        return
    if run.status == "requires_action":
        what = "a request to run a tool, and none was offered"
        raise unusable_answer(account, what, may_retry=False)
    if run.status == "cancelled":
        raise unusable_answer(account, "a run that somebody cancelled", may_retry=False)
    error = run.error or _Error()
    raise failure_of_status(_status_of(error), error.message or "the run failed", account)


def _status_of(error: _Error) -> int:
    """Guess which status a failed run would have had if it had failed at once."""
    if isinstance(error.code, int) and 400 <= error.code < 600:
        return error.code
    words = f"{error.code} {error.type}".lower()
    known = (("rate_limit", 429), ("invalid", 400), ("authentication", 401), ("permission", 403))
    return next((status for word, status in known if word in words), 500)


def _citations(items: tuple[_Item, ...], contents: list[_Content]) -> tuple[Citation, ...]:
    """Return the sources: those the text points at if it does, else all that were found."""
    found = {
        result.url: result.citation()
        for item in items
        for result in item.results or ()
        if result.url
    }
    named = {
        note.url: found.get(note.url) or Citation(note.title or note.url, note.url)
        for part in contents
        for note in part.annotations or ()
        if note.url
    }
    return tuple((named or found).values())


def run_body(request: ModelRequest, *, model: str | None, effort: str) -> JsonObject:
    """Return the body of ``POST /v1/responses``.

    System messages become the instructions. The API has no temperature, seed or stop words.
    """
    instructions = [message.content for message in request.messages if message.role == "system"]
    if request.json_object:
        instructions.append(_JSON_ONLY)
    turns = [message for message in request.messages if message.role != "system"]
    alone = len(turns) == 1 and turns[0].role == "user"
    body: JsonObject = {
        "input": turns[0].content if alone else [
            {"type": "message", "role": message.role, "content": message.content}
            for message in turns
        ],
        "max_output_tokens": request.max_tokens,
    }  # fmt: skip
    if model is None:
        body["effort"] = effort
    else:
        body["model"] = model
        body["reasoning"] = {"effort": {"fast": "low", "xhigh": "high"}.get(effort, effort)}
    if instructions:
        body["instructions"] = "\n\n".join(instructions)
    if request.search is not None:
        body["tools"] = [_web_search(request.search)]
    return body


def _web_search(options: SearchOptions) -> JsonObject:
    tool: JsonObject = {"type": "web_search", "search_context_size": options.context_size}
    filters = search_filters(options)
    if filters:
        tool["filters"] = filters
    return tool


def search_filters(options: SearchOptions) -> JsonObject:
    """Return the filters under the names that all three of Perplexity's protocols share."""
    filters: JsonObject = {}
    if options.domains:
        filters["search_domain_filter"] = list(options.domains)
    if options.recency is not None:
        filters["search_recency_filter"] = options.recency
    if options.after_date is not None:
        filters["search_after_date_filter"] = options.after_date
    return filters
