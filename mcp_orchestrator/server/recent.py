"""What the caller did lately: lists to look at, and ids to complete what a person types."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mcp.server import MCPServer
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from mcp_orchestrator.codeloop import LOOP_TYPE
from mcp_orchestrator.queue import TaskFilter
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching_resource

#: How many are listed, and how many are looked through for a completion.
_SHOWN: Final = 50
_SEARCHED: Final = 200


@dataclass(frozen=True, slots=True)
class Recent:
    """One thing of the caller's.

    Attributes:
        uri: where it can be read.
        identifier: its id.
        kind: its type, in a word.
        state: how it stands.
        when: when it began.
    """

    uri: str
    identifier: str
    kind: str
    state: str
    when: datetime


List = Callable[[int], Awaitable[list[Recent]]]


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the lists, and the completion of ids in resource templates."""

    async def sagas(limit: int) -> list[Recent]:
        return [
            Recent(f"saga://{it.saga_id}", it.saga_id, it.saga_type, it.state.value, it.started_at)
            for it in await runtime.sagas.list_sagas(limit=limit)
        ]

    async def loops(limit: int) -> list[Recent]:
        return [
            Recent(f"loop://{it.saga_id}", it.saga_id, "loop", it.state.value, it.started_at)
            for it in await runtime.sagas.list_sagas(saga_type=LOOP_TYPE, limit=limit)
        ]

    async def tasks(limit: int) -> list[Recent]:
        return [
            Recent(f"task://{it.task_id}", it.task_id, it.task_type, it.status.value, it.created_at)
            for it in await runtime.queue.list_tasks(TaskFilter(limit=limit))
        ]

    async def runs(limit: int) -> list[Recent]:
        return [
            Recent(f"run://{it.run_id}", it.run_id, it.kind, it.status, it.started_at)
            for it in await runtime.runs.recent(limit)
        ]

    lists: dict[str, List] = {"saga": sagas, "loop": loops, "task": tasks, "run": runs}
    for name, recent in lists.items():
        _add_list(server, name, recent)

    @server.completion()
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        _context: CompletionContext | None,
    ) -> Completion | None:
        recent = lists.get(argument.name.removesuffix("_id"))
        if recent is None or not isinstance(ref, ResourceTemplateReference):
            return None
        found = [it.identifier for it in await recent(_SEARCHED)]
        fitting = [each for each in found if each.startswith(argument.value)]
        return Completion(values=fitting[:100], total=len(fitting), has_more=len(fitting) > 100)


def _add_list(server: MCPServer[None], name: str, recent: List) -> None:
    @server.resource(
        f"{name}s://recent",
        name=f"recent-{name}s",
        description=f"The caller's latest {name}s, with their state and where each can be read.",
        mime_type="application/json",
    )
    @teaching_resource
    async def read() -> str:
        lines = [
            {"uri": it.uri, "kind": it.kind, "state": it.state, "began": it.when.isoformat()}
            for it in await recent(_SHOWN)
        ]
        return json.dumps(lines, indent=2, ensure_ascii=False)
