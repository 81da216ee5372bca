"""The tool of signals over the real server, and the queue's numbers at /metrics."""

from pathlib import Path

import httpx
from mcp import Client

from tests.services.orchestrator import call, connect, http_server


async def test_a_signal_that_nothing_wants_is_kept(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        sent = {"name": "order.paid", "payload": {"order": 7}, "signal_id": "s-1"}
        signal = await call(client, "signal_publish", sent)
        assert (signal["signal_id"], signal["status"]) == ("s-1", "unrouted")
        assert (await call(client, "signal_publish", sent))["received_at"] == signal["received_at"]


async def test_prometheus_finds_the_queue_counted(tmp_path: Path) -> None:
    with http_server(tmp_path) as server:
        async with Client(server.url("/mcp")) as client:
            task = await call(
                client,
                "queue_add_task",
                {"task_type": "travel.write_itinerary", "payload": {"city": "Bern", "nights": 1}},
            )
            done = {"task_id": task["task_id"], "wait_seconds": 20}
            assert (await call(client, "queue_get_task", done))["status"] == "completed"
        async with httpx.AsyncClient() as browser:
            scraped = (await browser.get(server.url("/metrics"))).text
    labels = '{priority="NORMAL",task_type="travel.write_itinerary"}'
    assert f"queue_tasks_completed_total{labels} 1.0" in scraped
    assert "queue_workers_alive" in scraped
