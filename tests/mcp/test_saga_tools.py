"""The tools and resources that look into sagas and put them right, by a real client."""

from pathlib import Path
from typing import Any

import anyio

from tests.services.orchestrator import call, connect, refusal

FLIGHT: dict[str, Any] = {
    "name": "flight",
    "action": "travel.reserve_flight",
    "arguments": {"origin": "ZRH", "destination": "LIS"},
}
DEAR: list[dict[str, Any]] = [
    FLIGHT,
    {
        "name": "payment",
        "action": "travel.charge_card",
        "arguments": {"flight_price": 900, "hotel_price": 900, "limit": 500},
    },
]
WAIT: list[dict[str, Any]] = [
    FLIGHT,
    {"name": "ask", "action": "saga.wait_for_signal", "arguments": {"signal": "go"}},
]


async def test_a_waiting_saga_is_explained_signalled_and_completed(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        saga_id = (await call(client, "saga_start", {"name": "w", "steps": WAIT}))["saga_id"]
        told = await call(client, "saga_explain", {"saga_id": saga_id})
        with anyio.fail_after(20):
            while "'ask'" not in told["why"]:
                told = await call(client, "saga_explain", {"saga_id": saga_id})
        assert told["state"] == "running"
        await call(client, "saga_signal", {"saga_id": saga_id, "signal": "go", "value": [1]})
        done = await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 20})
        assert done["state"] == "completed"
        assert done["steps"][1]["result"] == [1]
        assert "[conflict]" in await refusal(
            client, "saga_signal", {"saga_id": saga_id, "signal": "go"}
        )
        graph = await client.read_resource(f"saga://{saga_id}/graph")
        assert getattr(graph.contents[0], "text", "").startswith("flowchart LR")
        trail = await client.read_resource(f"saga://{saga_id}/audit")
        assert len(getattr(trail.contents[0], "text", "").splitlines()) >= 6


async def test_a_failed_saga_is_found_planned_and_set_going_again(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        wanted = {"name": "dear", "steps": DEAR, "wait_seconds": 20}
        saga_id = (await call(client, "saga_start", wanted))["saga_id"]
        listed = await call(client, "saga_list", {"state": "failed", "error": "limit"})
        assert [saga["saga_id"] for saga in listed["sagas"]] == [saga_id]
        assert listed["sagas"][0]["step"] == "flight"
        order = {"saga_id": saga_id, "reason": "paid by hand", "skip": {"payment": None}}
        plan = await call(client, "saga_retry", {**order, "dry_run": True})
        assert (plan["runs"], plan["skips"]) == (["flight"], ["payment"])
        assert plan["saga"]["state"] == "failed"
        await call(client, "saga_retry", order)
        done = await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 20})
        assert done["state"] == "completed"
        fork = {"saga_id": saga_id, "reason": "once more", "order": "fork", "from_step": "payment"}
        plan = await call(client, "saga_retry", {**fork, "dry_run": True})
        assert (plan["runs"], plan["skips"]) == (["payment"], ["flight"])
        assert (await call(client, "saga_retry", fork))["saga"]["saga_id"] != saga_id
        undo = {"saga_id": saga_id, "reason": "not wanted", "order": "compensate"}
        plan = await call(client, "saga_retry", undo)
        assert "flight" in plan["compensates"]
        done = await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 20})
        assert done["state"] == "aborted"
        page = await call(client, "saga_audit", {"saga_id": saga_id, "limit": 2})
        assert (len(page["events"]), page["after"], page["intact"]) == (2, 2, True)
        rest = await call(client, "saga_audit", {"saga_id": saga_id, "after": page["after"]})
        assert "paid by hand" not in " ".join(page["events"])
        assert "manual_retry" in " ".join(rest["events"])


async def test_the_catalog_names_every_action_and_the_waits(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        actions = {
            entry["name"]: entry for entry in (await call(client, "saga_catalog", {}))["actions"]
        }
        assert {"saga.sleep", "saga.child", "queue.run_task", "travel.charge_card"} <= set(actions)
        assert actions["travel.reserve_flight"]["compensation"] is not None


async def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        unknown = {"saga_id": "saga_nobody", "reason": "x"}
        for tool in ("saga_abort", "saga_retry"):
            assert "[not_found]" in await refusal(client, tool, unknown)
        bad = [{"name": "s", "action": "saga.sleep", "arguments": {"minutes": 1}}]
        said = await refusal(client, "saga_start", {"name": "x", "steps": bad})
        assert "$.steps[0].arguments.minutes" in said
        assert (await call(client, "saga_list", {}))["sagas"] == []


async def test_a_step_queues_a_task_and_gets_its_result(tmp_path: Path) -> None:
    def step(code: str) -> dict[str, Any]:
        arguments = {"task_type": "sandbox.execute", "payload": {"code": code}}
        return {"name": "compute", "action": "queue.run_task", "arguments": arguments}

    async with connect("stdio-modern", tmp_path, {}) as client:
        wanted = {"name": "q", "steps": [step("print(6 * 7)")], "wait_seconds": 30}
        done = await call(client, "saga_start", wanted)
        assert done["state"] == "completed", done
        assert done["steps"][0]["result"]["stdout"] == "42\n"
        bad: dict[str, Any] = {"task_type": "nobody.does", "payload": {}}
        unknown: dict[str, Any] = {"name": "compute", "action": "queue.run_task", "arguments": bad}
        steps = [FLIGHT, {**unknown, "timeout": 1, "retry": {"max_attempts": 1}}]
        failed = await call(client, "saga_start", {"name": "q", "steps": steps, "wait_seconds": 30})
        assert failed["state"] == "failed"
        assert failed["steps"][0]["state"] == "compensated"


async def test_a_saga_is_rewound_and_compared_with_the_world(tmp_path: Path) -> None:
    reserved = tmp_path / "packs" / "travel"
    async with connect("stdio-modern", tmp_path, {}) as client:
        hotel: dict[str, Any] = {
            "name": "hotel",
            "action": "travel.reserve_hotel",
            "arguments": {"city": {"$ref": "input.city"}, "nights": 2},
        }
        wanted = {"name": "t", "steps": [FLIGHT, hotel], "input": {"city": "Rome"}}
        done = await call(client, "saga_start", {**wanted, "wait_seconds": 20})
        saga_id = done["saga_id"]
        order = {
            "saga_id": saga_id, "order": "rewind", "from_step": "hotel",
            "reason": "another town", "new_input": {"city": "Pisa"},
        }  # fmt: skip
        plan = await call(client, "saga_retry", {**order, "dry_run": True})
        assert (plan["runs"], plan["compensates"]) == (["hotel"], ["hotel"])
        await call(client, "saga_retry", order)
        done = await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 20})
        assert done["steps"][1]["result"]["details"]["city"] == "Pisa"
        asked = {"saga_id": saga_id, "reason": "a customer called"}
        found = await call(client, "saga_reconcile", asked)
        assert [finding["step"] for finding in found["findings"]] == ["flight", "hotel"]
        assert found["agrees"] is True
        for path in reserved.glob("*flight*"):  # the world changed behind our back
            path.unlink()
        found = await call(client, "saga_reconcile", asked)
        assert [finding["agrees"] for finding in found["findings"]] == [False, True]
        trail = await client.read_resource(f"saga://{saga_id}/audit")
        assert getattr(trail.contents[0], "text", "").count("reconciled") == 2


async def test_a_person_approves_and_settles_through_the_tools(tmp_path: Path) -> None:
    ask = {"name": "ask", "action": "saga.approval", "arguments": {"approval": "budget"}}
    async with connect("stdio-modern", tmp_path, {}) as client:
        saga_id = (await call(client, "saga_start", {"name": "a", "steps": [FLIGHT, ask]}))[
            "saga_id"
        ]
        decision = {"saga_id": saga_id, "approval": "budget", "reason": "cheap enough"}
        await call(client, "saga_approve", decision)
        done = await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 20})
        assert done["state"] == "completed"
        left = (await call(client, "saga_start", {"name": "w", "steps": WAIT}))["saga_id"]
        with anyio.fail_after(60):
            while (await call(client, "saga_get", {"saga_id": left}))["steps"][1]["attempts"] == 0:
                pass
        leave = {"saga_id": left, "reason": "no longer needed", "compensate": False}
        await call(client, "saga_abort", leave)
        ended = await call(client, "saga_get", {"saga_id": left, "wait_seconds": 20})
        assert {task["step"] for task in ended["needs_person"]} == {"flight", "ask"}
        settle = {"saga_id": left, "reason": "cancelled by telephone"}
        plan = await call(client, "saga_resolve", {**settle, "dry_run": True})
        assert (plan["dry_run"], plan["runs"], plan["saga"]["needs_person"] != []) == (
            True,
            [],
            True,
        )
        plan = await call(client, "saga_resolve", settle)
        assert plan["saga"]["needs_person"] == []
        assert "[conflict]" in await refusal(client, "saga_resolve", settle)


async def test_aborting_a_saga_cancels_the_task_that_it_awaits(tmp_path: Path) -> None:
    payload = {"code": "import time\ntime.sleep(300)"}
    step = {
        "name": "compute", "action": "queue.run_task",
        "arguments": {"task_type": "sandbox.execute", "payload": payload},
    }  # fmt: skip
    async with connect("stdio-modern", tmp_path, {}) as client:
        saga_id = (await call(client, "saga_start", {"name": "q", "steps": [step]}))["saga_id"]
        tasks: list[dict[str, Any]] = []
        with anyio.fail_after(90):
            while not tasks:
                tasks = (await call(client, "queue_list_tasks", {"status": "processing"}))["tasks"]
        await call(client, "saga_abort", {"saga_id": saga_id, "reason": "not needed"})
        asked = {"task_id": tasks[0]["task_id"], "wait_seconds": 40}
        assert (await call(client, "queue_get_task", asked))["status"] == "cancelled"
        ended = await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 20})
        assert ended["state"] == "aborted"


async def test_a_definition_is_registered_and_started_by_its_name(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        trip: dict[str, Any] = {"name": "trip", "version": "1", "steps": [FLIGHT]}
        assert (await call(client, "saga_define", trip))["steps"] == ["flight"]
        started = {"name": "trip", "wait_seconds": 20}
        done = await call(client, "saga_start", started)
        assert (done["state"], done["steps"][0]["name"]) == ("completed", "flight")
        changed = {**trip, "steps": WAIT}
        assert "[conflict]" in await refusal(client, "saga_define", changed)
        assert "[not_found]" in await refusal(client, "saga_start", {**started, "version": "2"})
        assert "[not_found]" in await refusal(client, "saga_start", {"name": "unknown"})
