"""Tools of the sandbox: running code that nobody has read."""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Literal

import anyio
from mcp.server import MCPServer
from mcp_types import (
    CallToolResult,
    ToolAnnotations,
)
from pydantic import Field

from mcp_orchestrator.errors import InvalidInputError, OrchestratorError
from mcp_orchestrator.sandbox import (
    ExecutionRequest,
    ExecutionResult,
    Limits,
    TestRequest,
    assess,
)
from mcp_orchestrator.server.hints import ADDS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.toolsets.sandbox_views import (
    ClosedSessionView,
    OpenSessionView,
    RiskView,
    RunView,
    TestRunView,
    answer_of,
    describe_risk,
    view_tests,
)
from mcp_orchestrator.server.waiting import ToolContext

LARGEST_CODE = 200_000

Code = Annotated[str, Field(max_length=LARGEST_CODE)]
TimeoutSeconds = Annotated[float, Field(gt=0, le=50, description="Wall time, in seconds.")]
Profile = Annotated[
    str,
    Field(
        max_length=100,
        description="What there is to import: plain, or data for numpy, pandas and matplotlib"
        " where the server has it.",
    ),
]
MemoryMegabytes = Annotated[int, Field(ge=16, le=4096, description="Memory, in MiB.")]


def _decode(files: Mapping[str, str]) -> dict[str, bytes]:
    try:
        return {path: base64.b64decode(text, validate=True) for path, text in files.items()}
    except binascii.Error as error:
        raise InvalidInputError(f"files_base64: {error}.", remedy="Encode in base64.") from error


def _check_allowed(runtime: Workspace, *, allow_risky: bool) -> None:
    if allow_risky and not runtime.settings.sandbox_allow_risky:
        raise InvalidInputError(
            "This server lets nobody set allow_risky.",
            remedy="Run it without, change the lines that risk_findings names, or ask whoever runs "
            "the server to set sandbox_allow_risky.",
        )


async def _run_telling(
    runtime: Workspace, request: ExecutionRequest, session_id: str | None, context: ToolContext
) -> ExecutionResult:
    """Run a program, passing its output on as progress while it runs."""
    sender, receiver = anyio.create_memory_object_stream[str](256)
    outcome: list[ExecutionResult | OrchestratorError] = []

    def listen(stream: str, text: str) -> None:
        try:
            sender.send_nowait(text if stream == "stdout" else f"stderr: {text}")
        except anyio.WouldBlock:
            return  # the client is slow; the result has it all

    async def tell() -> None:
        count = 0.0
        async with receiver:
            async for text in receiver:
                count += 1
                await context.report_progress(count, None, text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        with sender:
            try:
                ended = await runtime.sandbox.run(request, session_id=session_id, listener=listen)
            except OrchestratorError as error:  # raised outside, where no group wraps it
                ended = error
            outcome.append(ended)
    if isinstance(outcome[0], OrchestratorError):
        raise outcome[0]
    return outcome[0]


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""
    harmless = ADDS

    reading = ToolAnnotations(
        read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )

    @server.tool(title="Run Python in the sandbox", annotations=harmless)
    @teaching
    async def sandbox_execute(
        context: ToolContext,
        code: Annotated[Code, Field(description="A Python program; print what you want to see.")],
        stdin: Annotated[Code, Field(description="Its standard input.")] = "",
        files: Annotated[
            dict[str, str], Field(description="Text files put beside it, by relative path.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        files_base64: Annotated[
            dict[str, str], Field(description="Binary files, in base64, by relative path.")
        ] = {},  # noqa: B006 - read only too
        arguments: Annotated[list[str], Field(description="Its command-line arguments.")] = [],  # noqa: B006 - read only too
        language: Annotated[
            Literal["python", "bash", "node"],
            Field(description="bash and node only where the sandbox has them."),
        ] = "python",
        timeout_seconds: TimeoutSeconds = 10,
        memory_megabytes: MemoryMegabytes = 256,
        session_id: Annotated[
            str | None, Field(description="Run it in a session from sandbox_open.")
        ] = None,
        profile: Profile = "plain",
        allow_risky: Annotated[
            bool, Field(description="Run it whatever its risk score; the walls stay the same.")
        ] = False,
    ) -> Annotated[CallToolResult, RunView]:
        """Run untrusted Python without network, files or privileges, under limits.

        An error of the program is a normal answer (status, exit code, stderr). Files that it
        makes in its working folder come back as resources, images inline. To judge a program
        by tests use sandbox_run_tests; to run it later, queue_add_task.
        """
        _check_allowed(runtime, allow_risky=allow_risky)
        request = ExecutionRequest(
            code=code,
            language=language,
            stdin=stdin,
            files={**files, **_decode(files_base64)},
            arguments=tuple(arguments),
            limits=Limits(wall_seconds=timeout_seconds, memory_bytes=memory_megabytes << 20),
            allow_risky=allow_risky,
            profile=profile,
        )
        return answer_of(await _run_telling(runtime, request, session_id, context))

    @server.tool(title="Score a program's risk", annotations=reading)
    @teaching
    async def sandbox_check_risk(
        code: Annotated[Code, Field(description="A Python program.")],
    ) -> RiskView:
        """Say what is suspicious about a program without running it, line by line.

        The score is advice; the sandbox isolates every program, whatever its score.
        """
        risk = assess(code)
        decision = runtime.sandbox.risk_policy.decide(risk, allow_risky=False)
        return RiskView(
            score=risk.score,
            capability=risk.capability,
            opacity=risk.opacity,
            decision=decision.value,
            findings=describe_risk(risk),
        )

    @server.tool(title="Open a sandbox session", annotations=harmless)
    @teaching
    async def sandbox_open(
        memory_megabytes: MemoryMegabytes = 256, profile: Profile = "plain"
    ) -> OpenSessionView:
        """Open a Python that keeps variables, imports and files between runs.

        Pass its session_id to sandbox_execute. A run that hangs or dies ends the session.
        """
        limits = Limits(memory_bytes=memory_megabytes << 20)
        view = await runtime.sandbox.open_session(limits, profile=profile)
        return OpenSessionView(
            session_id=view.session_id,
            idle_until=view.idle_until,
            next="Call sandbox_execute with this session_id; end with sandbox_close.",
        )

    @server.tool(title="Close a sandbox session", annotations=harmless)
    @teaching
    async def sandbox_close(session_id: str) -> ClosedSessionView:
        """Close a session from sandbox_open; its variables and files are lost."""
        await runtime.sandbox.close_session(session_id)
        return ClosedSessionView(session_id=session_id, closed=True)

    @server.tool(title="Test Python in the sandbox", annotations=harmless)
    @teaching
    async def sandbox_run_tests(
        code: Annotated[Code, Field(description="The program; tests import it as `solution`.")],
        tests: Annotated[
            Code,
            Field(description="`assert` lines, pytest functions or unittest classes."),
        ],
        timeout_seconds: TimeoutSeconds = 20,
        memory_megabytes: MemoryMegabytes = 256,
        profile: Profile = "plain",
        coverage: Annotated[
            bool, Field(description="Say which lines of the code no test reached.")
        ] = True,
    ) -> TestRunView:
        """Run tests against a program and see each test's outcome.

        A failure comes with the assertion, expected and actual values, and the last frames with
        their local variables.
        """
        limits = Limits(wall_seconds=timeout_seconds, memory_bytes=memory_megabytes << 20)
        request = TestRequest(
            code=code, tests=tests, limits=limits, coverage=coverage, profile=profile
        )
        return view_tests(await runtime.sandbox.run_tests(request))
