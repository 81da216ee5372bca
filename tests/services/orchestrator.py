"""The real server, as a process of its own, and real clients of every kind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client

from tests.services.process import await_ready, stop_process

#: Every way a client can reach the server: transport and protocol era.
WAYS = ("stdio-handshake", "stdio-modern", "http-handshake", "http-modern", "sse-handshake")
Way = Literal["stdio-handshake", "stdio-modern", "http-handshake", "http-modern", "sse-handshake"]
MODERN = "2026-07-28"
#: A step that lasts until the signal ``go``.
WAITS = {"name": "wait", "action": "saga.wait_for_signal", "arguments": {"signal": "go"}}

Json = dict[str, Any]


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """Return an environment with nothing of the tester's own but the path."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "HOME": str(data_dir),
        "MCP_ORCHESTRATOR_DATA_DIR": str(data_dir),
        "MCP_ORCHESTRATOR_SANDBOX": "bubblewrap",
        "MCP_ORCHESTRATOR_TOOLSETS": "all",
        **settings,
    }


def command(*arguments: str) -> list[str]:
    """Return the command line of the program."""
    return [sys.executable, "-m", "mcp_orchestrator", *arguments]


@dataclass
class HttpServer:
    """A server process that listens on a port of its own."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def url(self, path: str) -> str:
        """Return the address of one of its endpoints."""
        return f"http://127.0.0.1:{self.port}{path}"

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it politely."""
        stop_process(self.process)


def start_http_server(
    data_dir: Path, *, transport: str = "http", settings: Mapping[str, str] | None = None
) -> HttpServer:
    """Start a server on a free port and wait until it says where it listens."""
    number = len(list(data_dir.glob("server-*.log")))
    log = data_dir / f"server-{number}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command("serve", "--transport", transport, "--port", "0"),
            env=environment(data_dir, **(settings or {})),
            cwd=data_dir,
            stdin=subprocess.DEVNULL,
            stderr=stderr,
        )
    listening = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
    await_ready(process, lambda: listening.search(log.read_text()) is not None, log)
    found = listening.search(log.read_text())
    assert found is not None
    return HttpServer(process, int(found.group(1)), log)


@contextmanager
def http_server(
    data_dir: Path, *, transport: str = "http", **settings: str
) -> Generator[HttpServer]:
    """Run a server for the length of a block."""
    server = start_http_server(data_dir, transport=transport, settings=settings)
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def doomed_client(data_dir: Path, settings: Mapping[str, str]) -> AsyncGenerator[Client]:
    """Connect a client to a server that is killed at the end of the block, in mid-sentence."""
    server = start_http_server(data_dir, settings=settings)
    try:
        async with Client(server.url("/mcp")) as client:
            yield client
            server.kill()
    except* Exception:  # what the client makes of it
        assert server.process.returncode == -signal.SIGKILL
    finally:
        server.kill()


@asynccontextmanager
async def connect(
    way: Way, data_dir: Path, settings: Mapping[str, str], **callbacks: Any
) -> AsyncGenerator[Client]:
    """Start a server that is reached one way, and connect a client to it."""
    transport, era = way.split("-")
    mode = MODERN if era == "modern" else "legacy"
    if transport == "stdio":
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["-m", "mcp_orchestrator", "serve"],
            env=environment(data_dir, **settings),
            cwd=data_dir,
        )
        with (data_dir / "stderr.log").open("w") as log:
            async with Client(
                stdio_client(parameters, errlog=log), mode=mode, **callbacks
            ) as client:
                yield client
        return
    with http_server(data_dir, transport="http", **settings) as server:
        target = server.url("/mcp") if transport == "http" else sse_client(server.url("/sse"))
        async with Client(target, mode=mode, **callbacks) as client:
            yield client


class Teller:
    """Collects the progress a client is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.messages.append(message or "")


async def call(
    client: Client, tool: str, arguments: Json, *, progress: Teller | None = None
) -> Json:
    """Call a tool that must succeed, confirming it where it asks; return its structured result."""
    result = await client.call_tool(tool, arguments, progress_callback=progress)
    if result.is_error and (token := confirmation_in(text_of(result))) is not None:
        result = await client.call_tool(tool, {**arguments, "confirmation": token})
    assert not result.is_error, text_of(result)
    return cast("Json", result.structured_content)


def confirmation_in(text: str) -> str | None:
    """Return the token in the answer to a destructive call that nobody has confirmed."""
    found = re.search(r'confirmation="([^"]+)"', text)
    return found and found[1]


async def refusal(client: Client, tool: str, arguments: Json) -> str:
    """Call a tool that must refuse and return what the model reads."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return text_of(result)


def text_of(result: Any) -> str:
    """Return the text of a result."""
    return " ".join(getattr(block, "text", "") for block in result.content)


async def until_ended(
    client: Client, loop_id: str, *, progress: Teller | None = None, rounds: int = 40
) -> Json:
    """Follow a loop to its end."""
    loop: Json = {}
    for _ in range(rounds):
        loop = await call(
            client, "loop_get", {"loop_id": loop_id, "wait_seconds": 10}, progress=progress
        )
        if loop["state"] not in ("idle", "running", "compensating"):
            return loop
    raise AssertionError(f"the loop did not end: {loop}")
