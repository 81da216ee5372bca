"""MCP tasks over sagas and the queue: any replica answers, and no death of a server loses one."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx

from tests.services.orchestrator import (
    MODERN,
    WAITS,
    HttpServer,
    Json,
    call,
    connect,
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
    can: Mapping[str, Json] = {},
) -> Json:
    """Send one request of the modern era, by a client that knows the extension, or does not."""
    capabilities: Json = {**can, "extensions": {TASKS: {}}} if able else {**can}
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


async def ended(server: HttpServer, task: Json) -> Json:
    """Return an MCP task once it is no longer worked on."""
    while True:
        told: Json = (await ask(server, "tasks/get", task))["result"]
        if told["status"] != "working":
            return told
        await anyio.sleep(0.1)


async def test_a_long_call_that_its_server_did_not_survive_is_made_by_another(
    tmp_path: Path,
) -> None:
    # the first server only takes the call in, so that nothing has been done when it dies
    first = start_http_server(tmp_path, settings={"MCP_ORCHESTRATOR_EMBEDDED_WORKER": "false"})
    tests = call_of("sandbox_run_tests", code="def f():\n    return 2", tests="assert f() == 2")
    tasks: list[Json] = []
    for wanted in (call_of("sandbox_execute", code="print(6 * 7)"), tests):
        created = (await ask(first, "tools/call", wanted))["result"]
        assert (created["resultType"], created["status"]) == ("task", "working")
        tasks.append({"taskId": created["taskId"]})
    wrong = (await ask(first, "tools/call", call_of("sandbox_execute")))["result"]
    assert wrong["isError"]
    first.kill()
    with http_server(tmp_path) as second, http_server(tmp_path) as third:
        run, report = [
            (await ended(server, task))["result"]["structuredContent"]
            for server, task in zip((second, third), tasks, strict=True)
        ]
    assert (run["status"], run["stdout"]) == ("ok", "42\n")
    assert report["all_passed"]


async def test_a_long_call_asks_the_clients_model_by_way_of_its_task(tmp_path: Path) -> None:
    with http_server(tmp_path) as server:
        begun = await ask(
            server, "tools/call", call_of("reasoning_ask", question="Why?"), can={"sampling": {}}
        )
        task = {"taskId": begun["result"]["taskId"]}
        told = await ended(server, task)
        assert told["status"] == "input_required"
        (key,) = told["inputRequests"]
        assert told["inputRequests"][key]["method"] == "sampling/createMessage"
        broken = {**task, "inputResponses": {key: {"nonsense": 1}}}
        assert (await ask(server, "tasks/update", broken))["error"]["code"] == -32602
        reply = {
            "role": "assistant", "model": "its-own", "content": {"type": "text", "text": "B."},
        }  # fmt: skip
        answer = {**task, "inputResponses": {key: reply, "unknown": {}}}
        assert "error" not in await ask(server, "tasks/update", answer)
        told = await ended(server, task)
        assert told["result"]["structuredContent"]["answer"] == "B."
        another = (
            await ask(
                server, "tools/call", call_of("reasoning_ask", question="?"), can={"sampling": {}}
            )
        )["result"]
        task = {"taskId": another["taskId"]}
        assert (await ended(server, task))["status"] == "input_required"
        await ask(server, "tasks/cancel", task)
        assert (await ask(server, "tasks/get", task))["result"]["status"] == "cancelled"


SLOW_PACK = """
import asyncio
from pathlib import Path

from mcp_orchestrator.packs import Pack

pack = Pack("slow", description="Waits.")


@pack.tool(long=True)
async def until(path: str) -> str:
    \"\"\"Wait for a file.\"\"\"
    while not Path(path).exists():
        await asyncio.sleep(0.05)
    return "there it is"
"""


async def test_a_long_call_without_tasks_ends_in_time_and_is_asked_for_later(
    tmp_path: Path,
) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    (packs / "slow.py").write_text(SLOW_PACK)
    settings = {
        "MCP_ORCHESTRATOR_PACKS": str(packs), "MCP_ORCHESTRATOR_LONGEST_CALL_SECONDS": "0.5",
    }  # fmt: skip
    awaited = tmp_path / "awaited"
    async with connect("stdio-handshake", tmp_path, settings) as client:
        told = await call(client, "slow_until", {"path": str(awaited)})
        assert "queue_get_task" in told["next"]
        awaited.touch()
        later = {"task_id": told["task_id"], "wait_seconds": 50}
        task = await call(client, "queue_get_task", later)
        assert task["status"] == "completed"
        assert task["result"]["result"]["structuredContent"] == {"result": "there it is"}
        assert (await call(client, "slow_until", {"path": str(awaited)}))["result"] == "there it is"
    async with connect("http-modern", tmp_path, settings) as client:
        awaited.unlink()
        gone = anyio.Event()

        async def leave() -> None:
            with anyio.CancelScope() as scope:
                tasks.start_soon(cancel_when_queued, scope)
                await client.call_tool("slow_until", {"path": str(awaited)})
            gone.set()

        async def cancel_when_queued(scope: anyio.CancelScope) -> None:
            begun: list[Json] = []
            while not begun:
                found = await call(client, "queue_list_tasks", {"status": "processing"})
                begun = found["tasks"]
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave)
            await gone.wait()
        cancelled = await call(client, "queue_list_tasks", {"task_type": "mcp.slow_until"})
        newest = {"task_id": cancelled["tasks"][0]["task_id"], "wait_seconds": 50}
        assert (await call(client, "queue_get_task", newest))["status"] == "cancelled"


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
