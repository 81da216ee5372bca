"""Tools of the saga engine: several steps that finish, or undo themselves."""

from typing import Annotated, Literal

from mcp.server import MCPServer
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mcp_orchestrator.saga import (
    BUILT_IN_ACTIONS,
    JsonObject,
    RetryDocument,
    SagaDefinition,
    SagaState,
    parse_definition,
)
from mcp_orchestrator.server.hints import READS, SETS, STARTS
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.toolsets import saga_control, saga_decisions
from mcp_orchestrator.server.toolsets.saga_views import (
    SagaReport,
    SagaSummary,
    describe_event,
    summarise_saga,
    view_saga,
)
from mcp_orchestrator.server.waiting import ToolContext, WaitSeconds, follow_saga

__all__ = ["SagaReport", "describe_event", "register", "view_saga"]


class StepSpec(BaseModel):
    """One step of a saga."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Unique within the saga.")
    action: str = Field(description="A registered action, such as `travel.reserve_hotel`.")
    arguments: dict[str, JsonValue] = Field(
        default={},
        description='The action\'s arguments. {"$ref": "input.KEY"} and'
        ' {"$ref": "steps.NAME.result.KEY"} are replaced by earlier values.',
    )
    compensation: str | None = Field(
        default=None, description="The action that undoes it; by default the one it declares."
    )
    probe: str | None = Field(
        default=None, description="The action that finds out whether it happened; likewise."
    )
    timeout: float | None = Field(default=None, gt=0, description="Seconds for one attempt.")
    retry: RetryDocument | None = Field(default=None, description="When and how often again.")
    group: str | None = Field(
        default=None, description="Neighbours with the same group run at the same time."
    )
    pivot: bool = Field(default=False, description="Once it is done the saga only goes forward.")
    on_uncertain: Literal["repeat", "hold"] = Field(
        default="repeat", description="What to do if the server died while it ran."
    )


class SagaList(BaseModel):
    """Some sagas."""

    sagas: list[SagaSummary]


class RegisteredSaga(BaseModel):
    """A definition that saga_start finds by its name."""

    name: str
    version: str
    steps: list[str]


def read_definition(
    runtime: Workspace, name: str, steps: list[StepSpec], version: str = "1"
) -> SagaDefinition:
    """Check a definition and turn it into the engine's.

    Raises:
        InvalidInputError: with the JSON path of what is wrong.
    """
    written: list[JsonValue] = []
    for index, step in enumerate(steps):
        if step.action not in BUILT_IN_ACTIONS:
            path = f"$.steps[{index}].arguments"
            runtime.registry.check_step(step.action, step.arguments, path)
        as_json: JsonObject = step.model_dump(mode="json", exclude_none=True)
        compensation = step.compensation or runtime.registry.compensation_of(step.action)
        if compensation is not None:
            as_json["compensation"] = compensation
        probe = step.probe or runtime.registry.probe_of(step.action)
        if probe is not None:
            as_json["probe"] = probe
        written.append(as_json)
    document: JsonObject = {"name": name, "version": version, "steps": written}
    return parse_definition(document, runtime.registry)


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""

    @server.tool(title="Start a saga", annotations=STARTS)
    @teaching
    async def saga_start(
        name: Annotated[
            str, Field(min_length=1, max_length=200, description="Its type, for people.")
        ],
        context: ToolContext,
        steps: Annotated[
            list[StepSpec] | None,
            Field(
                min_length=1, max_length=200, description="None: those registered by saga_define."
            ),
        ] = None,
        version: Annotated[
            str | None, Field(description="Of a registered definition; the latest by default.")
        ] = None,
        input: Annotated[  # noqa: A002 - the word that references use
            dict[str, JsonValue], Field(description="Values that steps refer to as input.KEY.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        idempotency_key: Annotated[
            str | None, Field(description="The same key returns the saga it started before.")
        ] = None,
        wait_seconds: WaitSeconds = 0,
    ) -> SagaReport:
        """Run registered actions in order; if one fails, undo the finished ones in reverse.

        Every step is on disk before its effect and survives a crash of the server. An unknown
        action is answered with the list of those there are. Read the outcome with saga_get. For
        one piece of background work without undo use queue_add_task.
        """
        if steps is None:
            definition = await runtime.sagas.definitions.find(name, version)
        else:
            definition = read_definition(runtime, name, steps, version or "1")
        view = await runtime.sagas.start(
            definition,
            input,
            idempotency_key=f"saga:{idempotency_key}" if idempotency_key else None,
        )
        if wait_seconds > 0:
            view = await follow_saga(runtime.sagas, view.saga_id, wait_seconds, context)
        return view_saga(view)

    @server.tool(title="Look at a saga", annotations=READS)
    @teaching
    async def saga_get(
        saga_id: Annotated[str, Field(description="As returned by saga_start or loop_start.")],
        context: ToolContext,
        wait_seconds: WaitSeconds = 0,
        include_audit: Annotated[bool, Field(description="Add the audit trail.")] = False,
    ) -> SagaReport:
        """Read a saga's state, steps, error and, if asked, audit trail; can wait for its end."""
        if wait_seconds > 0:
            view = await follow_saga(runtime.sagas, saga_id, wait_seconds, context)
        else:
            view = await runtime.sagas.get(saga_id)
        audit = await runtime.sagas.audit(saga_id) if include_audit else None
        return view_saga(view, audit)

    @server.tool(title="List sagas", annotations=READS)
    @teaching
    async def saga_list(
        state: Annotated[SagaState | None, Field(description="Only in this state.")] = None,
        saga_type: Annotated[str | None, Field(description="Only of this name.")] = None,
        error: Annotated[str | None, Field(description="Only with this text in the error.")] = None,
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
    ) -> SagaList:
        """List sagas, the latest changed first, to find one or to see which need a person."""
        found = await runtime.sagas.list_sagas(state, saga_type, limit=limit, error=error)
        return SagaList(sagas=[summarise_saga(view) for view in found])

    _register_definitions(server, runtime)
    saga_control.register(server, runtime)
    saga_decisions.register(server, runtime)


def _register_definitions(server: MCPServer[None], runtime: Workspace) -> None:
    @server.tool(title="Register a saga's definition", annotations=SETS)
    @teaching
    async def saga_define(
        name: Annotated[str, Field(min_length=1, max_length=100)],
        version: Annotated[str, Field(min_length=1, max_length=50)],
        steps: Annotated[list[StepSpec], Field(min_length=1, max_length=200)],
    ) -> RegisteredSaga:
        """Keep steps under a name and a version, so that saga_start needs only the name.

        A version never changes: changed steps need another one. Sagas keep theirs.
        """
        definition = read_definition(runtime, name, steps, version)
        await runtime.sagas.definitions.register(definition)
        return RegisteredSaga(
            name=name, version=version, steps=[step.name for step in definition.steps]
        )
