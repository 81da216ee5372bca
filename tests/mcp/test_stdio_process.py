"""The server as hosts start it: over pipes, several at once, ended by closing its input."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.services.orchestrator import call, command, connect, environment
from tests.services.process import find_program

INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}  # fmt: skip
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Host:
    """A host program with its end of the pipes."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.process = subprocess.Popen(
            command("serve"),
            env=environment(data_dir, **settings),
            cwd=data_dir,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self._id = 1

    def send(self, message: dict[str, Any]) -> None:
        self.stdin.write(json.dumps(message).encode() + b"\n")
        self.stdin.flush()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer; every line in between must be protocol."""
        self.send(message)
        while True:
            answer = json.loads(self.stdout.readline())
            assert answer["jsonrpc"] == "2.0"
            if answer.get("id") == message["id"]:
                return answer

    def greet(self) -> None:
        assert "result" in self.ask(INITIALIZE)
        self.send(INITIALIZED)

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self._id += 1
        message = {
            "jsonrpc": "2.0", "id": self._id, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }  # fmt: skip
        return self.ask(message)["result"]["structuredContent"]

    def close(self) -> None:
        self.stdin.close()
        self.process.wait(20)
        self.stdout.close()


def processes_of(session: int) -> list[int]:
    """Return the ids of the processes of a session that still run."""
    output = subprocess.run(
        [find_program("ps"), "-o", "pid=,stat=", "--sid", str(session)],
        check=False, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [int(line.split()[0]) for line in output.splitlines() if "Z" not in line.split()[1]]


@pytest.mark.parametrize("how", ["stdin closes", "SIGTERM", "SIGINT"])
def test_a_server_ends_within_two_seconds_and_leaves_nothing_behind(
    how: str, tmp_path: Path
) -> None:
    host = Host(tmp_path)
    host.greet()
    task = host.call(
        "queue_add_task",
        {"task_type": "sandbox.execute", "payload": {"code": "while True: pass"}},
    )
    assert task["status"] in ("pending", "processing")
    while host.call("queue_get_task", {"task_id": task["task_id"]})["status"] == "pending":
        pass
    started = time.monotonic()
    if how == "stdin closes":
        host.stdin.close()
    else:
        host.process.send_signal(getattr(signal, how))
    host.process.wait(20)
    took = time.monotonic() - started
    assert took < 2, f"it took {took:.2f} s"
    assert processes_of(host.process.pid) == []
    host.stdin.close()
    host.stdout.close()


def test_nothing_but_protocol_goes_to_stdout(tmp_path: Path) -> None:
    packs = tmp_path / "my-packs"
    packs.mkdir()
    (packs / "noisy.py").write_text(
        "import os\n"
        "from mcp_orchestrator.packs import Pack\n"
        "print('printed while it is imported')\n"
        "pack = Pack('noisy', description='prints')\n"
        "@pack.handler()\n"
        "async def speak() -> str:\n"
        "    print('printed by a handler')\n"
        "    os.system('echo printed by a child')\n"
        "    return 'spoken'\n"
        "@pack.tool()\n"
        "async def shout() -> str:\n"
        "    '''Print something that must not reach the client.'''\n"
        "    print('printed by a tool', flush=True)\n"
        "    return 'shouted'\n"
    )
    host = Host(tmp_path, MCP_ORCHESTRATOR_PACKS=str(packs), MCP_ORCHESTRATOR_LOG_LEVEL="DEBUG")
    host.greet()
    assert host.call("noisy_shout", {})["result"] == "shouted"
    task = host.call("queue_add_task", {"task_type": "noisy.speak"})
    arguments = {"task_id": task["task_id"], "wait_seconds": 10}
    assert host.call("queue_get_task", arguments)["result"] == "spoken"
    host.stdin.close()
    rest = host.stdout.read()
    host.process.wait(20)
    host.stdout.close()
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())


async def test_two_servers_started_at_the_same_moment_share_one_data_folder(
    tmp_path: Path,
) -> None:
    hosts = [Host(tmp_path), Host(tmp_path)]
    try:
        for host in hosts:
            await anyio.to_thread.run_sync(host.greet)
        code = {"task_type": "sandbox.execute", "payload": {"code": "print('done')"}}
        ids = [
            host.call("queue_add_task", {**code, "idempotency_key": f"{number}"})["task_id"]
            for number in range(4)
            for host in hosts
        ]
        assert len(set(ids)) == 4  # the same key is the same task, whichever server is asked
        for host in reversed(hosts):
            for task_id in ids:
                task = host.call("queue_get_task", {"task_id": task_id, "wait_seconds": 20})
                assert task["status"] == "completed", task
                assert task["attempt"] == 1
    finally:
        for host in hosts:
            host.close()
    assert [host.process.returncode for host in hosts] == [0, 0]


async def test_what_one_server_began_another_one_shows(tmp_path: Path) -> None:
    step = {
        "name": "hotel", "action": "travel.reserve_hotel",
        "arguments": {"city": "Bern", "nights": 1},
    }  # fmt: skip
    async with connect("stdio-handshake", tmp_path, {}) as first:
        saga = await call(
            first, "saga_start", {"name": "trip", "steps": [step], "wait_seconds": 10}
        )
        async with connect("http-modern", tmp_path, {}) as second:
            seen = await call(second, "saga_get", {"saga_id": saga["saga_id"]})
    assert seen["state"] == "completed"
