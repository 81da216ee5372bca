"""Tools that reason: a question, an answer, its sources and what it cost."""

from typing import Annotated, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Resolve, Sample
from mcp_types import CreateMessageResult
from pydantic import BaseModel, Field

from mcp_orchestrator.agents import Message, ModelReply, ModelRequest, SearchOptions
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.server.auth import current_caller
from mcp_orchestrator.server.hints import ASKS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.sampling import as_sample, reply_of, require_sampling
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.waiting import ToolContext

Recency = Literal["hour", "day", "week", "month", "year"]
Effort = Literal["fast", "low", "medium", "high", "xhigh"]
Question = Annotated[
    str, Field(min_length=1, max_length=100_000, description="The question, with its context.")
]


class Source(BaseModel):
    """Where an answer comes from."""

    title: str
    url: str


class Cost(BaseModel):
    """What one model call used."""

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost: str | None = Field(description="Amount and currency, where the provider tells.")
    seconds: float


class Found(BaseModel):
    """One search result."""

    title: str
    url: str
    snippet: str
    date: str | None


class SearchView(BaseModel):
    """Search results as a client sees them."""

    results: list[Found]
    spent: Cost


class AnswerView(BaseModel):
    """An answer as a client sees it."""

    answer: str
    sources: list[Source]
    spent: Cost


def view_cost(reply: ModelReply) -> Cost:
    """Show what a reply used."""
    usage = reply.usage
    return Cost(
        provider=reply.provider,
        model=reply.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost=f"{usage.cost} {usage.currency}" if usage.cost is not None else None,
        seconds=round(reply.latency_seconds, 3),
    )


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""

    def request_for(question: str, effort: Effort, search: bool) -> ModelRequest:
        return ModelRequest(
            messages=(
                Message("system", "Reason step by step, then answer. Say what you are unsure of."),
                Message("user", question),
            ),
            effort=effort,
            search=SearchOptions() if search else None,
            purpose="reasoning_ask",
        )

    @teaching
    async def ask_client(
        question: str, effort: Effort, search: bool, context: ToolContext
    ) -> Sample | None:
        if runtime.roles.configured_reasoner is not None:
            return None
        require_sampling(context, "reasoning")
        return as_sample(request_for(question, effort, search))

    @server.tool(title="Reason about a question", annotations=ASKS)
    @teaching
    async def reasoning_ask(
        question: Question,
        context: ToolContext,
        sampled: Annotated[CreateMessageResult | None, Resolve(ask_client)],
        effort: Annotated[Effort, Field(description="How much to think and search.")] = "medium",
        search: Annotated[
            bool, Field(description="Search the web, where the provider can.")
        ] = True,
    ) -> AnswerView:
        """Ask the reasoning model (Perplexity, with sources) about a design, a bug or a fact.

        For code use codegen_generate; for code that passes tests, loop_start.
        """
        model = runtime.roles.configured_reasoner
        reply = await reply_of(
            sampled, model, request_for(question, effort, search), context, "reasoning"
        )
        return AnswerView(
            answer=reply.text,
            sources=[Source(title=source.title, url=source.url) for source in reply.citations],
            spent=view_cost(reply),
        )

    @server.tool(title="Search the web", annotations=ASKS)
    @teaching
    async def reasoning_search(
        query: Annotated[str, Field(min_length=1, max_length=2000)],
        max_results: Annotated[int, Field(ge=1, le=20)] = 8,
        recency: Annotated[Recency | None, Field(description="Nothing older.")] = None,
        domains: Annotated[
            list[str], Field(max_length=20, description="Only these; `-` before one excludes it.")
        ] = [],  # noqa: B006 - read only, and the schema shows the default
    ) -> SearchView:
        """Search the web (Perplexity) and get results, not an answer; reasoning_ask answers."""
        if runtime.providers.search is None:
            raise ConfigurationError(
                "No provider for search is configured.", remedy="Set PERPLEXITY_API_KEY."
            )
        options = SearchOptions(recency=recency, domains=tuple(domains), max_results=max_results)
        reply = await runtime.providers.search(query, options, current_caller().owner)
        return SearchView(
            results=[
                Found(title=it.title, url=it.url, snippet=it.snippet, date=it.date)
                for it in reply.citations
            ],
            spent=view_cost(reply),
        )
