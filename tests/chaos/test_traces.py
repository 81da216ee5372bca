"""What outlives a killed process is one connected tree, as a real OTLP receiver gets it."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
from mcp import Client

from mcp_orchestrator.saga import JsonObject
from tests.chaos.test_loop_crash import Gate
from tests.services.orchestrator import (
    call,
    command,
    environment,
    http_server,
    start_http_server,
)
from tests.services.otlp_receiver import OtlpReceiver, ReceivedSpan, otlp_receiver
from tests.services.process import stop_process
from tests.services.programmer import PROBLEM, TESTS, provider_settings
from tests.services.provider_server import provider_server
from tests.services.waiting import until

LOOP = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}
#: Two tasks: one that runs a program, and one whose first worker is killed at it.
STEPS: list[JsonObject] = [
    {
        "name": "measure",
        "action": "queue.run_task",
        "arguments": {
            "task_type": "sandbox.execute",
            "payload": {"code": "print(6 * 7)"},
        },
    },
    {
        "name": "linger",
        "action": "queue.run_task",
        "arguments": {"task_type": "slow.linger", "payload": {"folder": {"$ref": "input.folder"}}},
    },
]
PACK = """
from pathlib import Path
import anyio
from mcp_orchestrator.packs import Pack, TaskContext
pack = Pack("slow", description="Takes its time once.")

@pack.handler()
async def linger(folder: str, task: TaskContext) -> str:
    if task.attempt == 1:
        (Path(folder) / "begun").touch()
        await anyio.sleep_forever()
    return "done"
"""


@contextmanager
def worker(
    folder: Path, settings: dict[str, str], number: int
) -> "Generator[subprocess.Popen[bytes]]":
    with (folder / f"worker-{number}.log").open("wb") as log:
        process = subprocess.Popen(
            command("worker"), env=environment(folder, **settings), cwd=folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        stop_process(process, patience=20)


def settings_for(receiver: OtlpReceiver) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "MCP_ORCHESTRATOR_SAGA_LEASE_SECONDS": "1",
        "MCP_ORCHESTRATOR_TASK_LEASE_SECONDS": "1",
        "MCP_ORCHESTRATOR_SANDBOX_WARM": "0",
    }


async def test_a_loop_that_a_worker_recovers_is_one_tree(tmp_path: Path) -> None:
    gate = Gate(3)  # in the repair: the analysis and the first program are done
    async with provider_server(gate) as provider:
        with otlp_receiver() as receiver:
            settings = settings_for(receiver) | provider_settings(provider.base_url)
            server = start_http_server(tmp_path, settings=settings)
            loop_id = ""
            try:
                async with Client(server.url("/mcp")) as client:
                    loop_id = (await call(client, "loop_start", LOOP))["loop_id"]
                    with anyio.fail_after(60):
                        await gate.reached.wait()
                    await receiver.until(lambda: len(receiver.named("chat")) == 2)
                    await receiver.until(lambda: receiver.named("tools/call loop_start") != [])
                    await receiver.until(lambda: receiver.named("step generate") != [])
                    server.kill()
            except* Exception:
                assert server.process.returncode == -9
            finally:
                server.kill()
            gate.open.set()
            with worker(tmp_path, settings, 1):
                await receiver.until(lambda: receiver.named("saga ") != [])
            (start,) = receiver.named("tools/call loop_start")
            tree = receiver.tree_of(start.trace_id)
            (saga,) = receiver.named("saga ")
            assert saga.parent_id == start.span_id
            assert saga.attributes["saga.id"] == loop_id
            assert len({span.process for span in tree.values()}) == 2
            steps = [span for span in receiver.named("step ") if span.parent_id == saga.span_id]
            (lost,) = [span for span in steps if span.message == "its runner stopped"]
            below = [span for span in tree.values() if span.parent_id == lost.span_id]
            assert {span.name.split()[0] for span in below} <= {"chat", "sandbox"}
            asked = [tree[span.parent_id] for span in receiver.named("chat")]
            tested = [tree[span.parent_id] for span in receiver.named("sandbox")]
            assert {span.name.split()[0] for span in asked + tested} == {"step"}
            assert len(asked) >= 3  # what was not written down yet is asked again


async def test_tasks_stay_in_the_tree_of_their_saga_though_a_worker_dies(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "slow.py").write_text(PACK)
    begun = anyio.Path(tmp_path / "begun")
    with otlp_receiver() as receiver:
        settings = settings_for(receiver) | {
            "MCP_ORCHESTRATOR_PACKS": str(tmp_path / "packs"),
            "MCP_ORCHESTRATOR_SANDBOX_WARM": "0",
        }
        serving = settings | {"MCP_ORCHESTRATOR_EMBEDDED_WORKER": "false"}
        with http_server(tmp_path, **serving) as server:
            async with Client(server.url("/mcp")) as client:
                arguments = {"name": "report", "steps": STEPS, "input": {"folder": str(tmp_path)}}
                saga_id = (await call(client, "saga_start", arguments))["saga_id"]
                with worker(tmp_path, settings, 1) as first:
                    await until(begun.exists)
                    await receiver.until(lambda: receiver.named("step measure") != [])
                    await receiver.until(lambda: receiver.named("task sandbox") != [])
                    first.kill()
                with worker(tmp_path, settings, 2):
                    saga = await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 45})
            assert saga["state"] == "completed", saga
        await receiver.until(lambda: receiver.named("saga ") != [])
        (start,) = receiver.named("tools/call saga_start")
        tree = receiver.tree_of(start.trace_id)
        (run,) = receiver.named("sandbox run")
        assert way_up(tree, run) == [
            "sandbox run", "task sandbox.execute", "step measure", "saga report",
            "tools/call saga_start",
        ]  # fmt: skip
        lost, done = sorted(
            receiver.named("task slow"), key=lambda span: span.attributes["task.attempt"]
        )
        assert (lost.message, done.failed) == ("its worker stopped", False)
        assert way_up(tree, lost)[1:] == way_up(tree, done)[1:]
        assert tree[done.parent_id].name == "step linger"


def way_up(tree: dict[str, ReceivedSpan], span: ReceivedSpan) -> list[str]:
    way = [span.name]
    while span.parent_id:
        span = tree[span.parent_id]
        way.append(span.name)
    return way
