"""What a call costs beside the bare SDK, how soon a server answers, what its tools cost a client.

BENCH_CALLS, BENCH_CLIENTS and BENCH_SECONDS change how much is measured.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.services.orchestrator import command, environment, http_server
from tests.services.process import await_ready, free_port, stop_process

CALLS = int(os.environ.get("BENCH_CALLS", "300"))
ROUNDS = 5
STARTS = 7
CLIENTS = int(os.environ.get("BENCH_CLIENTS", "1000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
#: The o200k tokenizer counts 4.16 on these definitions.
CHARACTERS_PER_TOKEN = 4
GOALS = {"call_vs_bare_sdk": 1.3, "stdio_first_answer_s": 1.5, "definitions_tokens": 8000}
BARE = [sys.executable, "-m", "benchmarks.mcp.bare_server"]
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}


@contextmanager
def bare_http(folder: Path) -> Generator[str]:
    port = free_port()
    log = folder / "bare.log"

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with log.open("wb") as stderr:
        process = subprocess.Popen([*BARE, str(port)], stderr=stderr)
    await_ready(process, answers, log)
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        stop_process(process)


@asynccontextmanager
async def four_clients(folder: Path, settings: dict[str, str]) -> AsyncGenerator[dict[str, Client]]:
    """Connect to ours and to the bare server, over stdio and over HTTP."""
    ours = StdioServerParameters(
        command=sys.executable, args=command("serve")[1:], env=environment(folder, **settings)
    )
    bare = StdioServerParameters(command=BARE[0], args=[*BARE[1:], "stdio"], cwd=Path.cwd())
    async with AsyncExitStack() as stack:
        log = stack.enter_context((folder / "stdio.log").open("w"))
        web = stack.enter_context(http_server(folder, **settings))
        targets: dict[str, Any] = {
            "stdio ours": stdio_client(ours, errlog=log),
            "stdio bare": stdio_client(bare, errlog=log),
            "http ours": web.url("/mcp"),
            "http bare": stack.enter_context(bare_http(folder)),
        }
        yield {
            name: await stack.enter_async_context(Client(target))
            for name, target in targets.items()
        }


async def call_times(clients: dict[str, Client]) -> dict[str, float]:
    """Return the median of a call in milliseconds, the contestants taking turns."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(ROUNDS):
        for name, client in clients.items():
            for _ in range(CALLS // ROUNDS):
                began = time.perf_counter()
                result = await client.call_tool("bench_echo", {"text": "hello"})
                times[name].append((time.perf_counter() - began) * 1000)
                assert not result.is_error, result.content
    return {name: statistics.median(each) for name, each in times.items()}


async def definitions(folder: Path) -> tuple[int, int]:
    """Return how many tools a client is shown by default, and what they cost in tokens."""
    default = {"MCP_ORCHESTRATOR_TOOLSETS": "default"}
    parameters = StdioServerParameters(
        command=sys.executable, args=command("serve")[1:], env=environment(folder, **default)
    )
    with (folder / "definitions.log").open("w") as log:
        async with Client(stdio_client(parameters, errlog=log)) as client:
            tools = (await client.list_tools()).tools
    documents = [tool.model_dump_json(by_alias=True, exclude_none=True) for tool in tools]
    return len(tools), round(sum(map(len, documents)) / CHARACTERS_PER_TOKEN)


def first_answer(started: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds to the first answer, and from closed stdin to the end."""
    with (folder / "first.log").open("w") as log:
        began = time.perf_counter()
        with subprocess.Popen(
            started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env=environment(folder),
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(HELLO).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            answered = time.perf_counter()
            assert b'"serverInfo"' in answer, answer
            process.stdin.close()
            process.wait()
            return answered - began, time.perf_counter() - answered


def crowd(url: str) -> list[dict[str, Any]]:
    """Run the clients in two processes and return what each tells."""
    each = [sys.executable, "-m", "benchmarks.mcp.crowd", url, str(CLIENTS // 2), str(SECONDS)]
    processes = [subprocess.Popen(each, stdout=subprocess.PIPE) for _ in range(2)]
    return [json.loads(process.communicate()[0]) for process in processes]


async def measure(folder: Path) -> dict[str, float]:
    packs = folder / "packs"
    packs.mkdir()
    shutil.copy(Path(__file__).with_name("pack.py"), packs / "bench.py")
    settings = {"MCP_ORCHESTRATOR_PACKS": str(packs)}
    async with four_clients(folder, settings) as clients:
        medians = await call_times(clients)
    for name, each in medians.items():
        print(f"{name:<12} {each:8.2f} ms a call at the median")
    starts: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
    for _ in range(STARTS):
        starts["ours"].append(first_answer(command("serve"), folder))
        starts["bare"].append(first_answer([*BARE, "stdio"], folder))
    for name, each in starts.items():
        answer, end = (statistics.median(part) for part in zip(*each, strict=True))
        print(
            f"{name:<12} {answer:8.2f} s to the first answer, {end:.2f} s from closed stdin to end"
        )
    if CLIENTS:
        with http_server(folder, **settings) as web:
            for told in crowd(web.url("/mcp")):
                print(f"crowd        {json.dumps(told)}")
    tools, tokens = await definitions(folder)
    return {
        "call_vs_bare_sdk": max(
            medians["stdio ours"] / medians["stdio bare"],
            medians["http ours"] / medians["http bare"],
        ),
        "stdio_first_answer_s": statistics.median(answer for answer, _ in starts["ours"]),
        "definitions_tokens": tokens,
        "tools": tools,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ratios = anyio.run(measure, Path(folder))
    for name, most in GOALS.items():
        if ratios[name] > most:
            print(f"MISSED: {name} is {ratios[name]:.3f}, the goal is at most {most}")
    print("RATIOS", json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
