"""Resources: everything that has an id, to be read as a whole."""

import json

from mcp.server import MCPServer

from mcp_orchestrator.codeloop import Problem, repair_diffs, write_report
from mcp_orchestrator.errors import NotFoundError
from mcp_orchestrator.saga import mermaid
from mcp_orchestrator.server import run_resources
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching_resource
from mcp_orchestrator.server.toolsets.loop import (
    get_loop,
    loop_result,
    program_of,
    view_loop,
)
from mcp_orchestrator.server.toolsets.queue_views import view_list, view_stats, view_task
from mcp_orchestrator.server.toolsets.saga_views import describe_event, view_saga, whole_trail

_PAGE = 100


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the resource templates to a server."""
    _register_sagas(server, runtime)

    @server.resource("task://{task_id}", name="task", mime_type="application/json")
    @teaching_resource
    async def read_task(task_id: str) -> str:
        """Read a queued task with its payload and its result."""
        task = await runtime.queue.get_task(task_id)
        whole = view_task(task).model_dump(mode="json")
        whole["payload"] = task.payload
        return json.dumps(whole, indent=2, ensure_ascii=False)

    @server.resource("queue://stats", name="queue-stats", mime_type="application/json")
    @teaching_resource
    async def read_stats() -> str:
        """Read the queue's counts and its workers."""
        return view_stats(await runtime.queue.stats()).model_dump_json(indent=2)

    @server.resource("queue://dead", name="queue-dead", mime_type="application/json")
    @teaching_resource
    async def read_dead() -> str:
        """Read the newest hundred dead letters."""
        dead = await runtime.queue.dead_letters.list_tasks(limit=_PAGE)
        return view_list(dead, _PAGE).model_dump_json(indent=2)

    @server.resource("loop://{loop_id}", name="loop", mime_type="application/json")
    @teaching_resource
    async def read_loop(loop_id: str) -> str:
        """Read a loop with every attempt, what the repairs changed, and what it spent."""
        view = await get_loop(runtime, loop_id)
        result = loop_result(view)
        whole = (result or view_loop(view)).model_dump(mode="json")
        if result is not None:
            whole["diffs"] = repair_diffs(result.attempts)
        return json.dumps(whole, indent=2, ensure_ascii=False)

    @server.resource("loop://{loop_id}/code", name="loop-code", mime_type="text/x-python")
    @teaching_resource
    async def read_code(loop_id: str) -> str:
        """Read the program of a loop, or the best so far."""
        code = program_of(await get_loop(runtime, loop_id))
        if code is None:
            raise NotFoundError(
                f"Loop {loop_id!r} has no program yet.", remedy="Wait with loop_get."
            )
        return code

    @server.resource("loop://{loop_id}/report", name="loop-report", mime_type="text/markdown")
    @teaching_resource
    async def read_report(loop_id: str) -> str:
        """Read the account of a finished loop: attempts, failures, repairs, spend."""
        view = await get_loop(runtime, loop_id)
        result = loop_result(view)
        if result is None:
            raise NotFoundError(
                f"Loop {loop_id!r} has no report yet.", remedy="Wait with loop_get."
            )
        return write_report(Problem.model_validate(view.input), result)

    run_resources.register(server, runtime)


def _register_sagas(server: MCPServer[None], runtime: Workspace) -> None:
    @server.resource("saga://{saga_id}", name="saga", mime_type="application/json")
    @teaching_resource
    async def read_saga(saga_id: str) -> str:
        """Read a saga with its steps, its context and its audit trail."""
        view = await runtime.sagas.get(saga_id)
        audit = await runtime.sagas.audit(saga_id)
        whole = view_saga(view).model_dump(mode="json")
        whole["input"] = view.input
        whole["audit"] = [describe_event(event) for event in audit]
        return json.dumps(whole, indent=2, ensure_ascii=False)

    @server.resource("saga://{saga_id}/audit", name="saga-audit", mime_type="application/jsonl")
    @teaching_resource
    async def read_saga_audit(saga_id: str) -> str:
        """Read a saga's whole audit trail, one JSON object for each event."""
        return await whole_trail(runtime.sagas, saga_id)

    @server.resource("saga://{saga_id}/graph", name="saga-graph", mime_type="text/vnd.mermaid")
    @teaching_resource
    async def read_saga_graph(saga_id: str) -> str:
        """Read a saga as a Mermaid flow chart, coloured by state."""
        return mermaid(await runtime.sagas.get(saga_id))
