"""MCP tasks over sagas and the queue: any replica answers, and no death of a server loses one."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from tests.services.orchestrator import (
    MODERN,
    WAITS,
    HttpServer,
    Json,
    http_server,
    start_http_server,
)
from tests.services.signed_in import bearer, make_token

TASKS = "io.modelcontextprotocol/tasks"
_numbers = count(1)


async def ask(
    server: HttpServer,
    method: str,
    params: Json,
    *,
    headers: Mapping[str, str] = {},
    able: bool = True,
) -> Json:
    """Send one request of the modern era, by a client that knows the extension, or does not."""
    capabilities: Json = {"extensions": {TASKS: {}}} if able else {}
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }
    name = str(params.get("name") or params.get("taskId") or "")
    body = {
        "jsonrpc": "2.0", "id": next(_numbers), "method": method,
        "params": {**params, "_meta": meta},
    }  # fmt: skip
    sent = {
        "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method, "Mcp-Name": name, **headers,
    }  # fmt: skip
    async with httpx.AsyncClient(timeout=60) as http:
        answer = await http.post(server.url("/mcp"), json=body, headers=sent)
    told: Any = answer.json()
    return told


def call_of(tool: str, **arguments: Any) -> Json:
    return {"name": tool, "arguments": arguments}


async def test_a_task_survives_kill_9_and_is_answered_for_by_another_server(
    tmp_path: Path,
) -> None:
    first = start_http_server(tmp_path)
    begun = await ask(
        first, "tools/call", call_of("saga_start", name="s", steps=[WAITS], wait_seconds=50)
    )
    created = begun["result"]
    assert (created["resultType"], created["status"]) == ("task", "working")
    task = {"taskId": created["taskId"]}
    saga_id = created["taskId"].removeprefix("saga-")
    first.kill()
    with http_server(tmp_path) as second, http_server(tmp_path) as third:
        assert (await ask(second, "tasks/get", task))["result"]["status"] == "working"
        assert (await ask(third, "tasks/get", task))["result"]["status"] == "working"
        signal = call_of("saga_signal", saga_id=saga_id, signal="go", value={"answer": 42})
        assert not (await ask(third, "tools/call", signal))["result"].get("isError")
        wait = call_of("saga_get", saga_id=saga_id, wait_seconds=50)
        ended = (await ask(second, "tools/call", wait))["result"]["structuredContent"]
        assert ended["state"] == "completed"
        for server in (second, third):
            told = (await ask(server, "tasks/get", task))["result"]
            assert told["status"] == "completed"
            result = told["result"]["structuredContent"]
            assert result["steps"][0]["result"] == {"answer": 42}
        no_loop = await ask(third, "tasks/get", {"taskId": f"loop-{saga_id}"})
        assert no_loop["error"]["code"] == -32602


async def test_a_queued_task_is_left_and_cancelled_as_an_mcp_task(tmp_path: Path) -> None:
    with http_server(tmp_path) as server:
        payload = {"task_type": "sandbox.execute", "payload": {"code": "print(1)"}}
        later = await ask(
            server, "tools/call", call_of("queue_add_task", **payload, delay_seconds=3600)
        )
        task = {"taskId": later["result"]["taskId"]}
        assert (await ask(server, "tasks/update", {**task, "inputResponses": {}}))["result"]
        assert (await ask(server, "tasks/cancel", task))["result"]["resultType"] == "complete"
        assert (await ask(server, "tasks/get", task))["result"]["status"] == "cancelled"
        assert (await ask(server, "tasks/cancel", task))["result"]["resultType"] == "complete"
        ordinary = await ask(server, "tools/call", call_of("queue_add_task", **payload), able=False)
        assert ordinary["result"]["resultType"] == "complete"
        refused = await ask(server, "tasks/get", task, able=False)
        assert refused["error"]["code"] == -32021
        elsewhere = await ask(server, "tasks/get", task, headers={"Mcp-Name": "another"})
        assert elsewhere["error"]["code"] == -32020
        for unknown in ("saga-x", "task-x", "loop-x", "x", ""):
            told = await ask(server, "tasks/get", {"taskId": unknown})
            assert told["error"]["code"] in (-32602, -32020)
        wrong = await ask(server, "tools/call", call_of("saga_start", name="s", steps=[]))
        assert wrong["result"]["isError"]


async def test_a_task_is_there_for_its_principal_only(tmp_path: Path) -> None:
    alice, bob = [bearer(await make_token(tmp_path, name, ["write"])) for name in ("alice", "bob")]
    with http_server(tmp_path, MCP_ORCHESTRATOR_AUTH="token") as server:
        start = call_of("saga_start", name="s", steps=[WAITS])
        task = {
            "taskId": (await ask(server, "tools/call", start, headers=alice))["result"]["taskId"]
        }
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            told = await ask(server, method, task, headers=bob)
            assert told["error"]["code"] == -32602
        assert (await ask(server, "tasks/get", task, headers=alice))["result"][
            "status"
        ] == "working"
