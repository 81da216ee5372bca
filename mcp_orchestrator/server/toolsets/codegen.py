"""Tools that write code: one reply of the code model, not yet tested."""

from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Resolve, Sample
from mcp_types import CreateMessageResult
from pydantic import BaseModel, Field

from mcp_orchestrator.agents import Message, ModelReply, ModelRequest
from mcp_orchestrator.codeloop import NO_PROVIDER_REMEDY, extract_code
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.server.auth import current_caller
from mcp_orchestrator.server.hints import ASKS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.sampling import as_sample, reply_of, require_sampling
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.toolsets.reasoning import Cost, view_cost
from mcp_orchestrator.server.toolsets.sandbox import LARGEST_CODE
from mcp_orchestrator.server.waiting import ToolContext

Text = Annotated[str, Field(min_length=1, max_length=LARGEST_CODE)]

_SYSTEM = "You write Python. Reply with one Python code block that holds the whole program."


class CodeView(BaseModel):
    """A program as a client sees it."""

    code: str = Field(description="The program; empty if the reply held none.")
    reply: str = Field(description="All that the model wrote.")
    tested: bool = Field(default=False, description="Always false: run sandbox_run_tests.")
    spent: Cost


class Completion(BaseModel):
    """What belongs between two texts."""

    text: str
    spent: Cost


def view_code(reply: ModelReply) -> CodeView:
    """Show a reply that holds code."""
    return CodeView(code=extract_code(reply.text), reply=reply.text, spent=view_cost(reply))


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""
    writes = ASKS

    def generation(problem: str, signature: str | None) -> ModelRequest:
        wanted = f"\nImplement exactly this signature:\n{signature}" if signature else ""
        return ModelRequest(
            messages=(Message("system", _SYSTEM), Message("user", problem + wanted)),
            purpose="codegen_generate",
        )

    def repair(code: str, failure: str, problem: str | None) -> ModelRequest:
        task = f"It should do this:\n{problem}\n\n" if problem else ""
        text = f"{task}This program is wrong:\n```python\n{code}\n```\nWhat happened:\n{failure}"
        return ModelRequest(
            messages=(
                Message("system", _SYSTEM),
                Message("user", f"{text}\n\nWrite the corrected program."),
            ),
            purpose="codegen_fix",
        )

    @teaching
    async def ask_client_to_generate(
        problem: str, signature: str | None, context: ToolContext
    ) -> Sample | None:
        if runtime.roles.configured_coder is not None:
            return None
        require_sampling(context, "code")
        return as_sample(generation(problem, signature))

    @teaching
    async def ask_client_to_fix(
        code: str, failure: str, problem: str | None, context: ToolContext
    ) -> Sample | None:
        if runtime.roles.configured_coder is not None:
            return None
        require_sampling(context, "code")
        return as_sample(repair(code, failure, problem))

    @server.tool(title="Write code", annotations=writes)
    @teaching
    async def codegen_generate(
        problem: Annotated[Text, Field(description="What the program must do.")],
        context: ToolContext,
        sampled: Annotated[CreateMessageResult | None, Resolve(ask_client_to_generate)],
        signature: Annotated[
            str | None, Field(max_length=1000, description="A fixed signature, if there is one.")
        ] = None,
    ) -> CodeView:
        """Ask the code model (DeepSeek) for one Python program; it is not tested.

        Prefer loop_start when there are tests: it tries several programs and repairs them.
        """
        model = runtime.roles.configured_coder
        reply = await reply_of(sampled, model, generation(problem, signature), context, "code")
        return view_code(reply)

    @server.tool(title="Repair code", annotations=writes)
    @teaching
    async def codegen_fix(
        code: Annotated[Text, Field(description="The program that is wrong.")],
        failure: Annotated[
            Text, Field(description="What happened: traceback, failing assertion, expected value.")
        ],
        context: ToolContext,
        sampled: Annotated[CreateMessageResult | None, Resolve(ask_client_to_fix)],
        problem: Annotated[str | None, Field(description="What it should do.")] = None,
    ) -> CodeView:
        """Ask the code model (DeepSeek) for a corrected program, once; it is not tested.

        Get the failure from sandbox_run_tests, and test the answer with it.
        """
        model = runtime.roles.configured_coder
        reply = await reply_of(sampled, model, repair(code, failure, problem), context, "code")
        return view_code(reply)

    @server.tool(title="Complete code", annotations=writes)
    @teaching
    async def codegen_complete(
        prefix: Annotated[Text, Field(description="The code before the gap.")],
        suffix: Annotated[
            str, Field(max_length=LARGEST_CODE, description="The code after the gap.")
        ] = "",
        max_tokens: Annotated[int, Field(ge=1, le=4096)] = 256,
    ) -> Completion:
        """Ask the code model (DeepSeek) for what belongs between two pieces of code."""
        if runtime.providers.complete is None:
            raise ConfigurationError(
                "No provider for completion is configured.", remedy=NO_PROVIDER_REMEDY
            )
        reply = await runtime.providers.complete(prefix, suffix, max_tokens, current_caller().owner)
        return Completion(text=reply.text, spent=view_cost(reply))
