"""A real model in a process of its own, through the client that drives DeepSeek."""

import os
import signal
import subprocess
import sys
import time

import anyio
import pytest

from mcp_orchestrator.agents import DeepSeekModel, Message, ModelRequest, ProviderHttp, deepseek
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.demo.local_model import MODEL, local_model
from tests.conftest import require
from tests.services.local_model import installed

SERVE = [sys.executable, "-m", "mcp_orchestrator.demo.local_model"]


@pytest.fixture(autouse=True)
def _installed() -> None:
    require(installed)


async def test_a_real_model_answers_whole_and_streamed_and_leaves_nothing_behind() -> None:
    clock, told = SystemClock(), list[str]()
    question = (Message("user", "Say hello."),)
    request = ModelRequest(question, max_tokens=16, temperature=0.0, seed=1)

    async def on_progress(words: str) -> None:
        told.append(words)

    async with local_model() as url:
        http = ProviderHttp(deepseek.OTHER_ACCOUNT, base_url=url, clock=clock)
        async with http:
            model = DeepSeekModel(http, clock=clock, model=MODEL)
            assert MODEL in await model.check()
            whole = await model.ask(request)
            streamed = await model.ask(request, on_progress=on_progress)
            assert whole.text.strip()
            assert whole.text == streamed.text
            assert 0 < whole.usage.output_tokens <= 16
            assert whole.usage.cost is None
            assert told
    with pytest.raises(OSError, match="onnect"):
        await anyio.connect_tcp("127.0.0.1", int(url.split(":")[2].split("/")[0]))


def test_it_ends_when_its_parent_is_killed() -> None:
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({SERVE!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
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
