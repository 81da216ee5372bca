"""Resources of the sandbox's runs: the row, the whole outputs, the files they made."""

import json
from dataclasses import asdict
from typing import Literal

from mcp.server import MCPServer

from mcp_orchestrator.errors import NotFoundError
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching_resource
from mcp_orchestrator.store.runs import RunRecord

_OUTPUTS = ("stdout", "stderr")


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the resource templates to a server."""

    @server.resource("run://{run_id}", name="run", mime_type="application/json")
    @teaching_resource
    async def read_run(run_id: str) -> str:
        """Read a sandbox run: what ran, behind which walls, and what came of it."""
        return json.dumps(view_record(await runtime.runs.get(run_id)), indent=2, ensure_ascii=False)

    @server.resource("run://{run_id}/stdout", name="run-stdout", mime_type="text/plain")
    @teaching_resource
    async def read_stdout(run_id: str) -> str:
        """Read all that a run wrote to stdout."""
        return await _whole_output(runtime, run_id, "stdout")

    @server.resource("run://{run_id}/stderr", name="run-stderr", mime_type="text/plain")
    @teaching_resource
    async def read_stderr(run_id: str) -> str:
        """Read all that a run wrote to stderr."""
        return await _whole_output(runtime, run_id, "stderr")

    @server.resource(
        "run://{run_id}/artifacts/{+path}",
        name="run-artifact",
        mime_type="application/octet-stream",
    )
    @teaching_resource
    async def read_artifact(run_id: str, path: str) -> bytes:
        """Read a file that a run made."""
        await runtime.runs.get(run_id)
        return (await runtime.runs.file(run_id, "artifact", path)).content


async def _whole_output(runtime: Workspace, run_id: str, name: Literal["stdout", "stderr"]) -> str:
    record = await runtime.runs.get(run_id)
    try:
        content = (await runtime.runs.file(run_id, "output", name)).content
    except NotFoundError:  # it was short enough to be in the row
        content = record.stdout if name == "stdout" else record.stderr
    return content.decode("utf-8", "replace")


def view_record(record: RunRecord) -> dict[str, object]:
    """Show a run's row to a client."""
    outputs = {name: getattr(record, name).decode("utf-8", "replace") for name in _OUTPUTS}
    times = {name: getattr(record, name).isoformat() for name in ("started_at", "finished_at")}
    return {**asdict(record), **outputs, **times}
