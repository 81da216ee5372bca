"""The server object: every toolset, resource and prompt on one MCP server."""

import logging
from collections.abc import Callable, Collection
from typing import Final

from mcp.server import MCPServer
from mcp.server.request_state import RequestStateSecurity

from mcp_orchestrator import __version__
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.mcp_tasks import Tasks
from mcp_orchestrator.packs import Pack
from mcp_orchestrator.runtime import Runtime
from mcp_orchestrator.server import prompts, recent, resources
from mcp_orchestrator.server.auth.bearer import auth_settings, build_verifier
from mcp_orchestrator.server.auth.guard import Guard
from mcp_orchestrator.server.auth.refusals import Refusals
from mcp_orchestrator.server.definitions import ConciseServer
from mcp_orchestrator.server.durable_tasks import DurableTasks
from mcp_orchestrator.server.long_calls import LongCalls
from mcp_orchestrator.server.owned import Workspace, workspace_of
from mcp_orchestrator.server.selection import ALL, DEFAULT, Selection
from mcp_orchestrator.server.toolsets import (
    admin,
    codegen,
    loop,
    queue,
    reasoning,
    saga,
    sandbox,
)
from mcp_orchestrator.server.watching import ResourceWatch

_log = logging.getLogger(__name__)
NAME: Final = "mcp-orchestrator"

INSTRUCTIONS: Final = """\
Work that survives: what you start here goes on when you disconnect or the server restarts.
- A program that must be right: loop_start with the problem and tests, then loop_get until it ends.
- Code you have: sandbox_run_tests to judge it, sandbox_execute to run it, codegen_fix to repair it.
- A question: reasoning_ask. A draft of code: codegen_generate.
- Several steps that must all happen or be undone: saga_start, then saga_get.
- One piece of work in the background: queue_add_task, then queue_get_task.
Calls that wait end after at most 50 s with the present status; call again as `next` says.
If something does not answer, health says what and how to mend it.
"""

TOOLSETS: Final[dict[str, Callable[[MCPServer[None], Workspace], None]]] = {
    "queue": queue.register,
    "saga": saga.register,
    "sandbox": sandbox.register,
    "reasoning": reasoning.register,
    "codegen": codegen.register,
    "loop": loop.register,
    "admin": admin.register,
}


#: Tools that may take long and whose work is not written down otherwise.
LONG_TOOLS: Final = frozenset(
    {
        "codegen_complete",
        "codegen_fix",
        "codegen_generate",
        "reasoning_ask",
        "reasoning_search",
        "sandbox_execute",
        "sandbox_run_tests",
    }
)


def build_server(
    runtime: Runtime,
    refusals: Refusals,
    *,
    more_long_tools: Collection[str] = (),
    always_tasks: Collection[str] = (),
    asking_first: Collection[str] = (),
) -> ConciseServer:
    """Put every tool, resource and prompt on a new server object.

    Args:
        runtime: what they work with, each call narrowed to its caller.
        refusals: where refused requests are counted.
        more_long_tools: tools that will be added and may take long, by name.
        always_tasks: those of them whose every call is an MCP task.
        asking_first: those of them that ask before they become one.
    """
    settings = runtime.settings
    workspace = workspace_of(runtime, refusals)
    watch = ResourceWatch(runtime.clock)
    packs = [loaded.pack for loaded in runtime.packs if loaded.pack]
    of_packs = {name for pack in packs for name in pack.long_tools}
    long_calls = LongCalls(
        runtime.queue,
        workspace.queue,
        runtime.serving.questions,
        runtime.clock,
        tools=LONG_TOOLS.union(of_packs, more_long_tools),
        always=always_tasks,
        asking_first=asking_first,
        bounded=_outlasting(runtime) | of_packs,
        patience=settings.longest_call_seconds,
    )
    server = ConciseServer(
        NAME,
        _selection(runtime),
        title="MCP Orchestrator",
        version=__version__,
        instructions=INSTRUCTIONS,
        log_level=settings.log_level,
        auth=auth_settings(settings),
        token_verifier=build_verifier(settings, runtime.tokens, runtime.clock),
        extensions=[Tasks([DurableTasks(workspace), long_calls])],
        request_state_security=RequestStateSecurity(keys=[runtime.serving.key]),
        subscriptions=watch.bus,
        lifespan=watch.lifespan,
    )
    watch.serve(server)
    server.middleware.append(Guard(server.kind_of, refusals, signed_in_only=bool(settings.auth)))
    for toolset, register in TOOLSETS.items():
        server.begin_toolset(toolset)
        register(server, workspace)
    for pack in packs:
        _add_pack(server, pack)
    long_calls.serve(server, {*more_long_tools, *server.names}, runtime.offer_handler)
    resources.register(server, workspace)
    recent.register(server, workspace)
    prompts.register(server)
    return server


def _outlasting(runtime: Runtime) -> set[str]:
    """Return the tools that wait for a configured model; the client's own answers in the call."""
    tools: set[str] = set()
    if runtime.roles.configured_reasoner is not None:
        tools.add("reasoning_ask")
    if runtime.roles.configured_coder is not None:
        tools |= {"codegen_generate", "codegen_fix"}
    return tools


def _add_pack(server: ConciseServer, pack: Pack) -> None:
    """Add a pack's tools and prompts; one that the SDK does not understand is left out."""
    server.begin_toolset(pack.name)
    for name, function in pack.tools.items():
        try:
            server.add_tool(function, name=name)
        except Exception:  # whatever a user's function is, the server goes on
            _log.exception("Pack %s: tool %s was not added.", pack.name, name)
    for name, function in pack.prompts.items():
        try:
            server.prompt(name=name)(function)
        except Exception:
            _log.exception("Pack %s: prompt %s was not added.", pack.name, name)


def _selection(runtime: Runtime) -> Selection:
    settings = runtime.settings
    packs = {loaded.pack.name for loaded in runtime.packs if loaded.pack}
    known = {DEFAULT, ALL, *TOOLSETS, *packs}
    for unknown in sorted(set(settings.toolsets) - known):
        raise ConfigurationError(
            f"Setting toolsets: there is no toolset {unknown!r}.",
            remedy=f"Toolsets are: {', '.join(sorted(known))}.",
        )
    return Selection(settings.toolsets, settings.tools, settings.read_only)
