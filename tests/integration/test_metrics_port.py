"""`--metrics-port`: one page for the processes of `worker`, and one for a server over stdio."""

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mcp_orchestrator.queue import NewTask
from mcp_orchestrator.runtime.parts import open_queue
from mcp_orchestrator.settings import load_settings
from tests.services.orchestrator import command, environment
from tests.services.process import await_ready, stop_process
from tests.services.waiting import until

PACK = """
from mcp_orchestrator.packs import Pack
pack = Pack("quick", description="Does nothing.")

@pack.handler()
async def nothing() -> str:
    return "done"
"""


class Page:
    """The metrics of a program."""

    def __init__(self, url: str) -> None:
        self._url = url

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        with urllib.request.urlopen(self._url, timeout=10) as answer:
            text: str = answer.read().decode()
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        ]

    def total(self, name: str) -> float:
        return sum(value for _, value in self.samples(name))


@contextmanager
def program(folder: Path, *arguments: str) -> Generator[Page]:
    log = folder / "program.log"
    settings = {
        "MCP_ORCHESTRATOR_PACKS": str(folder / "packs"),
        "MCP_ORCHESTRATOR_SANDBOX_WARM": "0",
        "MCP_ORCHESTRATOR_TASK_LEASE_SECONDS": "2",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(*arguments, "--metrics-port", "0"), env=environment(folder, **settings),
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=output,
        )  # fmt: skip
    said = re.compile(r"metrics at (http://\S+)")
    try:
        await_ready(process, lambda: said.search(log.read_text()) is not None, log)
        found = said.search(log.read_text())
        assert found is not None
        yield Page(found.group(1))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        stop_process(process, patience=20)


async def test_one_port_shows_each_worker_process_by_itself(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "quick.py").write_text(PACK)
    settings = load_settings({"data_dir": tmp_path})
    with program(tmp_path, "worker", "--workers", "2") as page:

        async def both_answer() -> bool:
            return page.total("worker_processes") == 2

        async def all_counted() -> bool:
            return page.total("queue_tasks_completed_total") == 20

        async with open_queue(settings) as queue:
            await until(both_answer)
            await queue.add_tasks([NewTask("quick.nothing", {}) for _ in range(20)])
            await until(all_counted)
            shown = {labels["worker_process"] for labels, _ in page.samples("saga_held")}
            assert shown == {"0", "1"}
            victim = next(iter((await queue.stats()).workers)).process_id
            os.kill(victim, signal.SIGKILL)

            async def one_is_new() -> bool:
                workers = {one.process_id for one in (await queue.stats()).workers}
                return victim not in workers and len(workers) == 2

            await until(one_is_new)
            await until(both_answer)


async def test_a_server_over_stdio_shows_its_own(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    with program(tmp_path, "serve") as page:
        assert page.samples("mcp_orchestrator_refusals_total") != []
