"""A real model in a process of its own, through the client that drives DeepSeek."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import anyio
import pytest

from mcp_orchestrator.agents import DeepSeekModel, Message, ModelRequest, ProviderHttp, deepseek
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.demo.local_model import MODEL, local_model
from tests.conftest import require
from tests.services.local_model import COMMAND, LocalModelServer, start_local_model


@pytest.fixture(scope="module")
def server() -> Iterator[LocalModelServer]:
    running = require(start_local_model)
    yield running
    running.stop()


async def test_a_real_model_answers_whole_and_streamed(server: LocalModelServer) -> None:
    clock, told = SystemClock(), list[str]()
    request = ModelRequest(
        (Message("user", "Say hello."),), max_tokens=16, temperature=0.0, seed=1
    )  # fmt: skip

    async def on_progress(words: str) -> None:
        told.append(words)

    async with ProviderHttp(
        deepseek.OTHER_ACCOUNT, base_url=server.base_url, clock=clock
    ) as http:  # fmt: skip
        model = DeepSeekModel(http, clock=clock, model=MODEL)
        assert MODEL in await model.check()
        whole = await model.ask(request)
        streamed = await model.ask(request, on_progress=on_progress)
    assert whole.text.strip()
    assert whole.text == streamed.text
    assert 0 < whole.usage.output_tokens <= 16
    assert whole.usage.cost is None
    assert told


async def test_json_mode_of_a_real_model(server: LocalModelServer) -> None:
    clock = SystemClock()
    http = ProviderHttp(deepseek.OTHER_ACCOUNT, base_url=server.base_url, clock=clock)
    async with http:
        model = DeepSeekModel(http, clock=clock, model=MODEL)
        request = ModelRequest(
            (Message("user", 'Give {"colour": …} of the sky.'),), max_tokens=32,
            temperature=0.0, json_object=True,
        )  # fmt: skip
        assert (await model.ask(request)).text.lstrip().startswith("{")


async def test_the_context_manager_leaves_nothing_behind() -> None:
    require(lambda: start_local_model().stop())
    async with local_model() as url:
        port = int(url.split(":")[2].split("/")[0])
        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
    with pytest.raises(OSError, match="onnect"):
        await anyio.connect_tcp("127.0.0.1", port)


def test_it_ends_when_its_parent_is_killed(server: LocalModelServer) -> None:
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(child.pid, child.stdout.readline().decode(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[0])
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 10
        while _runs(child):
            assert time.monotonic() < deadline, "it outlived its parent"
            time.sleep(0.05)


def _runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    stat = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process_id)], check=False, capture_output=True, text=True
    )
    return not stat.stdout.startswith("Z") and bool(stat.stdout.strip())
