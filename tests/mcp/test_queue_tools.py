"""The queue's occasional tools over the real server, and its numbers at /metrics."""

from datetime import UTC, datetime, timedelta
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


async def test_rules_decide_what_signals_start(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        payload = {"city": "Bern", "nights": 1}
        early = await call(client, "signal_publish", {"name": "trip.paid", "payload": payload})
        [kept] = (await call(client, "signal_list_unrouted", {}))["signals"]
        assert kept["signal_id"] == early["signal_id"]
        rule = {
            "name": "write", "pattern": "trip.*", "where": {"city": ["Bern", "Basel"]},
            "target": {"kind": "task", "task_type": "travel.write_itinerary", "priority": "HIGH"},
        }  # fmt: skip
        assert len((await call(client, "signal_add_rule", rule))["rules"]) == 1
        [listed] = (await call(client, "signal_list_rules", {}))["rules"]
        assert listed["where"] == rule["where"]
        routed = await call(client, "signal_route_again", {"signal_id": early["signal_id"]})
        task = {"task_id": routed["outcomes"][0]["id"], "wait_seconds": 20}
        assert (await call(client, "queue_get_task", task))["status"] == "completed"
        assert (await call(client, "signal_remove_rule", {"name": "write"}))["rules"] == []


async def test_schedules_are_kept(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        schedule = {
            "name": "early", "cron": "0 6 * * 1-5", "task_type": "travel.write_itinerary",
            "payload": {"city": "Bern", "nights": 1}, "timezone": "Europe/Zurich",
        }  # fmt: skip
        added = await call(client, "schedule_add", schedule)
        assert (await call(client, "schedule_list", {}))["schedules"] == [added]
        assert (await call(client, "schedule_remove", {"name": "early"}))["schedules"] == []


async def test_the_queue_is_steered(tmp_path: Path) -> None:
    name = "travel.write_itinerary"
    task = {"task_type": name, "payload": {"city": "Bern", "nights": 1}}
    async with connect("stdio-modern", tmp_path, {}) as client:
        assert (await call(client, "queue_pause", {"priority": "LOW"}))["paused"] == ["LOW"]
        assert (await call(client, "queue_resume", {"priority": "LOW"}))["paused"] == []
        bounds = {"task_type": name, "concurrency": 2, "starts": 1, "per_seconds": 3600}
        await call(client, "queue_limit_type", bounds)
        first = await call(client, "queue_add_task", task)
        second = await call(client, "queue_add_task", task)
        done = {"task_id": first["task_id"], "wait_seconds": 20}
        assert (await call(client, "queue_get_task", done))["status"] == "completed"
        [limit] = (await call(client, "queue_stats", {}))["limits"]
        assert (limit["starts"], limit["started"]) == (1, 1)
        waits = {"task_id": second["task_id"]}
        assert (await call(client, "queue_get_task", waits))["status"] == "pending"
        await call(client, "queue_limit_type", {"task_type": name})
        assert (await call(client, "queue_get_task", {**waits, "wait_seconds": 20}))[
            "status"
        ] == "completed"
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        later = await call(client, "queue_add_task", {**task, "run_at": tomorrow.isoformat()})
        assert later["status"] == "scheduled"


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
