"""Each tool by itself: what it answers, what it refuses, and that refusals change nothing."""

import sqlite3
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.services.orchestrator import call, connect, refusal
from tests.services.programmer import PROBLEM, TESTS, programmer, provider_settings
from tests.services.provider_server import provider_server

TRIP: list[dict[str, Any]] = [
    {
        "name": "flight",
        "action": "travel.reserve_flight",
        "arguments": {"origin": "ZRH", "destination": {"$ref": "input.city"}},
    },
    {
        "name": "hotel",
        "action": "travel.reserve_hotel",
        "arguments": {"city": {"$ref": "input.city"}, "nights": {"$ref": "input.nights"}},
    },
    {
        "name": "payment",
        "action": "travel.charge_card",
        "arguments": {
            "flight_price": {"$ref": "steps.flight.result.price"},
            "hotel_price": {"$ref": "steps.hotel.result.price"},
            "limit": 500,
        },
    },
]
#: Measured 4.16 with the o200k tokenizer on these definitions; fewer characters count more tokens.
CHARACTERS_PER_TOKEN = 4
NAMES = {
    "queue_add_task", "queue_get_task", "saga_start", "saga_get", "sandbox_execute",
    "sandbox_run_tests", "reasoning_ask", "codegen_generate", "codegen_fix", "loop_start",
    "loop_get", "health", "queue_list_tasks", "queue_cancel_task", "queue_stats",
    "queue_retry_dead", "reasoning_search", "codegen_complete",
}  # fmt: skip


async def test_every_tool_is_described_for_a_model(tmp_path: Path) -> None:
    async with connect("stdio-modern", tmp_path, {}) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) >= NAMES
        for tool in tools.values():
            assert tool.title
            assert tool.description
            assert len(tool.description) > 40
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint is not None
            assert tool.output_schema is not None
            assert tool.input_schema["type"] == "object"
            assert "title" not in tool.input_schema  # repeats the name, and costs tokens
        templates = await client.list_resource_templates()
        assert {"saga://{saga_id}", "task://{task_id}"} <= {
            template.uri_template for template in templates.resource_templates
        }
        prompts = await client.list_prompts()
        assert {prompt.name for prompt in prompts.prompts} == {
            "solve_with_tests", "explain_failure", "design_saga",
        }  # fmt: skip
        prompt = await client.get_prompt("solve_with_tests", {"problem": "Add two numbers."})
        assert isinstance(prompt.messages[0].content, mcp_types.TextContent)
        assert "loop_start" in prompt.messages[0].content.text


@pytest.mark.parametrize(
    ("chosen", "there", "missing"),
    [
        ({"TOOLSETS": "default"}, {"loop_start", "saga_start"}, {"codegen_complete"}),
        ({"TOOLSETS": "queue"}, {"queue_add_task", "queue_retry_dead"}, {"saga_start", "health"}),
        ({"TOOLSETS": "loop", "TOOLS": "health"}, {"loop_get", "health"}, {"saga_start"}),
        ({"TOOLSETS": "all", "READ_ONLY": "true"}, {"saga_get", "loop_get"}, {"loop_start"}),
    ],
)
async def test_clients_are_shown_the_tools_that_were_chosen(
    chosen: dict[str, str], there: set[str], missing: set[str], tmp_path: Path
) -> None:
    settings = {f"MCP_ORCHESTRATOR_{name}": value for name, value in chosen.items()}
    async with connect("stdio-modern", tmp_path, settings) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
    assert there <= names
    assert not missing & names
    assert len(names) <= 25


async def test_the_default_tools_cost_a_client_at_most_8000_tokens(tmp_path: Path) -> None:
    async with connect(
        "stdio-modern", tmp_path, {"MCP_ORCHESTRATOR_TOOLSETS": "default"}
    ) as client:
        tools = (await client.list_tools()).tools
    documents = [tool.model_dump_json(by_alias=True, exclude_none=True) for tool in tools]
    assert len(tools) <= 25
    assert sum(map(len, documents)) / CHARACTERS_PER_TOKEN <= 8000


async def test_a_saga_finishes_or_undoes_itself(tmp_path: Path) -> None:
    reservations = tmp_path / "packs" / "travel"
    async with connect("stdio-handshake", tmp_path, {}) as client:
        short = {"name": "trip", "steps": TRIP, "input": {"city": "Bern", "nights": 1}}
        saga = await call(client, "saga_start", {**short, "wait_seconds": 20})
        assert saga["state"] == "completed"
        assert len(list(reservations.iterdir())) == 3

        long = {"name": "trip", "steps": TRIP, "input": {"city": "Bern", "nights": 9}}
        failed = await call(client, "saga_start", {**long, "wait_seconds": 20})
        assert failed["state"] == "failed"
        assert "over its limit of 500" in failed["error"]
        assert [step["state"] for step in failed["steps"]] == [
            "compensated", "compensated", "failed",
        ]  # fmt: skip
        assert len(list(reservations.iterdir())) == 3
        seen = await call(client, "saga_get", {"saga_id": failed["saga_id"], "include_audit": True})
        kinds = " ".join(seen["audit"])
        assert kinds.index("compensation_start hotel") < kinds.index("compensation_start flight")


async def test_a_task_is_worked_on_in_the_background(tmp_path: Path) -> None:
    async with connect("stdio-handshake", tmp_path, {}) as client:
        task = await call(
            client,
            "queue_add_task",
            {"task_type": "sandbox.execute", "payload": {"code": "print(6 * 7)"}},
        )
        done = await call(
            client, "queue_get_task", {"task_id": task["task_id"], "wait_seconds": 20}
        )
        assert done["status"] == "completed", done
        assert done["result"]["stdout"] == "42\n"
        read = await client.read_resource(f"task://{task['task_id']}")
        assert "print(6 * 7)" in getattr(read.contents[0], "text", "")


async def test_the_queue_is_looked_into_and_put_right(tmp_path: Path) -> None:
    async with connect("stdio-handshake", tmp_path, {}) as client:
        endless = {"task_type": "sandbox.execute", "payload": {"code": "while True: pass"}}
        running = (await call(client, "queue_add_task", endless))["task_id"]
        later = {**endless, "delay_seconds": 600, "priority": "HIGH"}
        scheduled = (await call(client, "queue_add_task", later))["task_id"]
        wrong = {
            "task_type": "sandbox.execute", "payload": {"code": 1}, "max_retries": 0,
        }  # fmt: skip
        dead = (await call(client, "queue_add_task", wrong))["task_id"]
        ended = await call(client, "queue_get_task", {"task_id": dead, "wait_seconds": 20})
        assert ended["status"] in ("dead_letter", "failed"), ended
        assert "payload.code" in ended["error"]

        listed = await call(client, "queue_list_tasks", {"limit": 2})
        assert [task["task_id"] for task in listed["tasks"]] == [dead, scheduled]
        more = await call(client, "queue_list_tasks", {"limit": 2, "before": listed["next_before"]})
        assert [task["task_id"] for task in more["tasks"]] == [running]

        for task_id in (running, scheduled):
            await call(client, "queue_cancel_task", {"task_id": task_id})
            gone = await call(client, "queue_get_task", {"task_id": task_id, "wait_seconds": 20})
            assert gone["status"] == "cancelled"
        stats = await call(client, "queue_stats", {})
        assert stats["by_status"]["cancelled"] == 2
        assert len(stats["workers"]) == 1
        read = await client.read_resource("queue://stats")
        assert '"workers"' in getattr(read.contents[0], "text", "")

        assert (await call(client, "queue_retry_dead", {"task_id": dead}))["retried"] == 1
        assert "either task_id or task_type" in await refusal(client, "queue_retry_dead", {})


async def test_code_is_run_and_tested_in_the_sandbox(tmp_path: Path) -> None:
    async with connect("stdio-handshake", tmp_path, {}) as client:
        run = await call(client, "sandbox_execute", {"code": "print(input())", "stdin": "hello"})
        assert (run["status"], run["stdout"]) == ("ok", "hello\n")
        assert run["backend"] == "bubblewrap"
        assert run["layers"]
        broken = await call(client, "sandbox_execute", {"code": "1 / 0"})
        assert broken["status"] == "error"
        assert "ZeroDivisionError" in broken["stderr"]
        slow = await call(
            client, "sandbox_execute", {"code": "while True: pass", "timeout_seconds": 1}
        )
        assert slow["status"] == "timeout"
        report = await call(
            client,
            "sandbox_run_tests",
            {"code": "def f(x):\n    y = x + 1\n    return y\n", "tests": "assert f(1) == 3"},
        )
        assert not report["all_passed"]
        assert report["failed"] == 1


async def test_health_names_every_part(tmp_path: Path) -> None:
    async with connect("stdio-handshake", tmp_path, {}) as client:
        report = await call(client, "health", {})
    assert report["ok"], report
    assert {part["part"] for part in report["parts"]} >= {
        "store", "queue", "sandbox", "reasoning", "code",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("saga_start", {"name": "x", "steps": [{"name": "a", "action": "no.such"}]}, "no.such"),
        (
            "saga_start",
            {"name": "x", "steps": [{"name": "a", "action": "travel.reserve_hotel"}]},
            "$.steps[0].arguments.city",
        ),
        (
            "saga_start",
            {
                "name": "x",
                "steps": [
                    {
                        "name": "a",
                        "action": "travel.reserve_hotel",
                        "arguments": {"city": {"$ref": "steps.later.result"}, "nights": 1},
                    }
                ],
            },
            "later",
        ),
        ("saga_start", {"name": "x", "steps": []}, "steps"),
        ("queue_add_task", {"task_type": "no.such"}, "sandbox.execute"),
        ("queue_add_task", {"task_type": "travel.write_itinerary", "payload": {}}, "payload.city"),
        ("queue_get_task", {"task_id": "nobody"}, "nobody"),
        ("saga_get", {"saga_id": "nobody"}, "nobody"),
        ("loop_get", {"loop_id": "nobody"}, "nobody"),
        ("sandbox_execute", {"code": "x" * 300_000}, "code"),
        ("loop_start", {"problem": ""}, "problem"),
        ("loop_start", {"problem": "x", "tests": "y" * 200_000}, "tests"),
        ("loop_start", {"problem": "x", "budget": {"model_calls": 0}}, "model_calls"),
        ("loop_get", {"loop_id": "x", "wait_seconds": 500}, "wait_seconds"),
    ],
)
async def test_bad_input_is_named_and_writes_nothing(
    bad_input_client: tuple[Client, Path], tool: str, arguments: dict[str, Any], named: str
) -> None:
    client, folder = bad_input_client
    before = written_rows(folder)
    text = await refusal(client, tool, arguments)
    assert named in text
    assert "Traceback" not in text
    assert written_rows(folder) == before


async def test_an_unknown_resource_is_a_protocol_error(
    bad_input_client: tuple[Client, Path],
) -> None:
    client, _ = bad_input_client
    for uri in ("saga://nobody", "task://nobody", "loop://nobody/code"):
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
        assert caught.value.error.code == -32602


async def test_the_same_key_returns_the_first_id(tmp_path: Path) -> None:
    async with provider_server(programmer()) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("stdio-handshake", tmp_path, settings) as client:
            loop = {"problem": PROBLEM, "tests": TESTS, "candidates": 1, "idempotency_key": "k"}
            first = await call(client, "loop_start", loop)
            again = await call(client, "loop_start", loop)
            assert first["loop_id"] == again["loop_id"]
            saga = {
                "name": "trip", "steps": TRIP, "input": {"city": "Bern", "nights": 1},
                "idempotency_key": "k",
            }  # fmt: skip
            saga_ids = {(await call(client, "saga_start", saga))["saga_id"] for _ in range(2)}
            assert len(saga_ids) == 1
            assert saga_ids != {first["loop_id"]}
            task = {
                "task_type": "sandbox.execute", "payload": {"code": "1"}, "idempotency_key": "k",
            }  # fmt: skip
            task_ids = {(await call(client, "queue_add_task", task))["task_id"] for _ in range(2)}
            assert len(task_ids) == 1


def written_rows(folder: Path) -> dict[str, int]:
    """Count the rows of every table of a server's database."""
    with sqlite3.connect(folder / "orchestrator.db") as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if "worker" not in name and "runner" not in name
        ]
        counts = {
            name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            for name in tables
        }
    database.close()
    return counts
