"""A real Prometheus scrapes a server that has worked: every query of every dashboard has data."""

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.conftest import require
from tests.services.orchestrator import call, http_server, until_ended
from tests.services.process import find_program
from tests.services.programmer import PROBLEM, TESTS, programmer, provider_settings
from tests.services.prometheus_server import start_prometheus
from tests.services.provider_server import provider_server
from tests.services.waiting import until

DASHBOARDS = sorted((Path(__file__).parents[2] / "deploy" / "grafana").glob("*.json"))
PACK = """
from mcp_orchestrator.packs import Pack, StepHandle
pack = Pack("flaky", description="Fails once.")

@pack.action()
async def try_twice(step: StepHandle) -> str:
    if step.attempt == 1:
        raise OSError("not yet")
    return "done"
"""
FLAKY = [{"name": "try", "action": "flaky.try_twice", "retry": {"max_attempts": 2}}]
DEAR: list[dict[str, Any]] = [
    {
        "name": "flight",
        "action": "travel.reserve_flight",
        "arguments": {"origin": "ZRH", "destination": "LIS"},
    },
    {
        "name": "payment",
        "action": "travel.charge_card",
        "arguments": {"flight_price": 900, "hotel_price": 900, "limit": 500},
    },
]
RISKY = "import os\nos.system('rm -rf /')\nimport ctypes\nctypes.CDLL(None).fork()\n"


def queries() -> dict[str, str]:
    """Return every query by dashboard and panel, as Grafana would send it."""
    found: dict[str, str] = {}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                name = f"{path.stem}: {panel['title']}: {target['refId']}"
                found[name] = target["expr"].replace("$__rate_interval", "5m")
    return found


async def work(client: Client) -> None:
    """Do a little of everything."""
    for name, steps, state in (("flaky", FLAKY, "completed"), ("dear", DEAR, "failed")):
        wanted = {"name": name, "steps": steps, "wait_seconds": 45}
        assert (await call(client, "saga_start", wanted))["state"] == state
    risky = await call(client, "sandbox_execute", {"code": RISKY})
    assert risky["status"] == "refused", risky
    loop = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}
    loop_id = (await call(client, "loop_start", loop))["loop_id"]
    assert (await until_ended(client, loop_id))["state"] == "completed"
    task = {"task_type": "sandbox.execute", "payload": {"code": "print(1)"}}
    task_id = (await call(client, "queue_add_task", task))["task_id"]
    done = await call(client, "queue_get_task", {"task_id": task_id, "wait_seconds": 45})
    assert done["status"] == "completed"


async def test_every_query_of_every_dashboard_has_data(tmp_path: Path) -> None:
    require(lambda: find_program("prometheus"))
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "flaky.py").write_text(PACK)
    async with provider_server(programmer()) as provider:
        settings = provider_settings(provider.base_url) | {
            "MCP_ORCHESTRATOR_PACKS": str(tmp_path / "packs"),
            "MCP_ORCHESTRATOR_AUDIT_VERIFY_SECONDS": "1",
        }
        with ExitStack() as stack:
            server = stack.enter_context(http_server(tmp_path, **settings))
            targets = [f"127.0.0.1:{server.port}"]
            prometheus = stack.enter_context(start_prometheus(tmp_path / "prometheus", targets))
            async with Client(server.url("/mcp")) as client:
                await work(client)
                # a rate needs two values, and sees nothing of the first of a series
                scraped = "queue_tasks_completed_total"
                await until(lambda: has_data(prometheus.values, scraped))
                await work(client)
                missing = queries()
                assert len(missing) >= 40

                async def nothing_is_missing() -> bool:
                    for name in list(missing):
                        if await has_data(prometheus.values, missing[name]):
                            del missing[name]
                    return not missing

                try:
                    await until(nothing_is_missing, seconds=60)
                except TimeoutError:
                    pytest.fail(f"no data: {missing}")


async def has_data(ask: Any, query: str) -> bool:
    """Tell whether a query has a number that is one."""
    return any(not math.isnan(value) for value in ask(query))
