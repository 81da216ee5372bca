"""The client's own model, for those who set no key.

A tool names its question through the SDK's ``Resolve``; the same body then works for clients of
both protocol eras: those that are asked over a back channel and those that answer by calling the
tool again.
"""

from dataclasses import replace

from mcp.server.mcpserver import Sample
from mcp_types import CreateMessageResult, SamplingMessage, TextContent

from mcp_orchestrator.agents import Model, ModelReply, ModelRequest, Usage
from mcp_orchestrator.codeloop import NO_PROVIDER_REMEDY
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.server.auth import current_caller
from mcp_orchestrator.server.waiting import ToolContext

PROVIDER = "client"


def offers_sampling(context: ToolContext) -> bool:
    """Tell whether this call's client lends its own model."""
    capabilities = context.client_capabilities
    return capabilities is not None and capabilities.sampling is not None


def offers_elicitation(context: ToolContext) -> bool:
    """Tell whether this call's client can put a form before its person."""
    capabilities = context.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


def as_sample(request: ModelRequest) -> Sample:
    """Turn a model request into the question that the SDK sends to the client."""
    system = "\n\n".join(m.content for m in request.messages if m.role == "system")
    turns = [
        SamplingMessage(role=message.role, content=TextContent(type="text", text=message.content))
        for message in request.messages
        if message.role != "system"
    ]
    return Sample(
        turns,
        max_tokens=request.max_tokens,
        system_prompt=system or None,
        temperature=request.temperature,
        stop_sequences=list(request.stop) or None,
    )


def as_reply(result: CreateMessageResult) -> ModelReply:
    """Turn the client's answer into a model reply; clients do not say what it cost."""
    blocks = result.content if isinstance(result.content, list) else [result.content]
    text = "".join(block.text for block in blocks if isinstance(block, TextContent))
    return ModelReply(
        text=text,
        reasoning="",
        citations=(),
        usage=Usage(),
        provider=PROVIDER,
        model=result.model,
        latency_seconds=0.0,
        request_id=None,
        finish_reason=str(result.stop_reason or "stop"),
    )


def require_sampling(context: ToolContext, task: str) -> None:
    """Refuse a question that nobody can answer.

    Raises:
        ConfigurationError: no provider has a key and this client lends no model.
    """
    if not offers_sampling(context):
        raise ConfigurationError(
            f"No provider for {task} is configured and this client offers no sampling.",
            remedy=NO_PROVIDER_REMEDY,
        )


async def reply_of(
    sampled: CreateMessageResult | None,
    model: Model | None,
    request: ModelRequest,
    context: ToolContext,
    task: str,
) -> ModelReply:
    """Return the client's answer if it gave one, else ask the configured model.

    Raises:
        ConfigurationError: there is neither.
        ProviderError: the provider refused or failed.
    """
    if sampled is not None:
        return as_reply(sampled)
    if model is None:
        raise ConfigurationError(
            f"No provider for {task} is configured.", remedy=NO_PROVIDER_REMEDY
        )
    count = 0.0

    async def tell(message: str) -> None:
        nonlocal count
        count += 1
        await context.report_progress(count, None, message)

    await tell(f"asking {model.model}")
    asked = replace(request, owner=current_caller().owner)  # who pays, and whose cache it is
    return await model.ask(asked, on_progress=tell)
