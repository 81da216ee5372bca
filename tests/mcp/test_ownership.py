"""What one principal starts is not there for another: every tool and resource with an id."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp_types import Tool

from tests.services.orchestrator import WAITS, HttpServer, Json, call, http_server, text_of
from tests.services.programmer import provider_settings
from tests.services.signed_in import bearer, make_token, signed_in

#: Ids that the caller makes up: another principal's say nothing and reach nothing.
CHOSEN_BY_CALLER = {("signal_publish", "signal_id")}
STRANGE = "0000000000000000"


@dataclass(frozen=True)
class Household:
    """A server with alice's work on it, and the tokens of those who look."""

    server: HttpServer
    ids: dict[str, str]
    tokens: dict[str, str]


@pytest.fixture(scope="module")
async def household(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Household]:
    folder: Path = tmp_path_factory.mktemp("household")
    scopes = {"alice": ["write"], "bob": ["write"], "root": ["admin"]}
    tokens = {name: await make_token(folder, name, given) for name, given in scopes.items()}
    settings = {**provider_settings("http://127.0.0.1:9"), "MCP_ORCHESTRATOR_AUTH": "token"}
    with http_server(folder, **settings) as server:
        async with signed_in(server, tokens["alice"]) as client:
            ids = await _begin_work(client)
        yield Household(server, ids, tokens)


async def _begin_work(client: Client) -> dict[str, str]:
    saga = await call(client, "saga_start", {"name": "alice's", "steps": [WAITS]})
    task = await call(
        client,
        "queue_add_task",
        {"task_type": "sandbox.execute", "payload": {"code": "1"}, "delay_seconds": 3600},
    )
    run = await call(client, "sandbox_execute", {"code": "print(6 * 7)"})
    session = await call(client, "sandbox_open", {})
    loop = await call(client, "loop_start", {"problem": "Add.", "tests": "assert True"})
    await call(client, "signal_publish", {"name": "alice.signal", "signal_id": "alice-1"})
    return {
        "saga_id": saga["saga_id"], "task_id": task["task_id"], "run_id": run["run_id"],
        "session_id": session["session_id"], "loop_id": loop["loop_id"], "signal_id": "alice-1",
    }  # fmt: skip


def _example(name: str, schema: Json, definitions: Json) -> Any:
    """Make up a value that a schema lets through."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "enum" in schema:
        return schema["enum"][0]
    if name == "order":
        return "retry"
    kinds: dict[str, Any] = {
        "string": "x", "integer": 1, "number": 1, "boolean": False, "object": {}, "array": [],
    }  # fmt: skip
    return kinds.get(schema.get("type", "string"), "x")


def _arguments(tool: Tool) -> tuple[Json, list[str]]:
    """Return made-up values of the required arguments, and the names of those that are ids."""
    schema: Json = tool.input_schema
    properties: Json = schema.get("properties", {})
    required = {
        name: _example(name, properties[name], schema.get("$defs", {}))
        for name in schema.get("required", [])
    }
    return required, [name for name in properties if name.endswith("_id")]


async def test_anothers_ids_answer_as_ids_that_never_were(household: Household) -> None:
    wrong: list[str] = []
    tried = 0
    async with signed_in(household.server, household.tokens["bob"]) as bob:
        for tool in (await bob.list_tools()).tools:
            required, names = _arguments(tool)
            for name in names:
                if (tool.name, name) in CHOSEN_BY_CALLER:
                    continue
                known = household.ids.get(name)
                for real in [known] if known else list(household.ids.values()):
                    tried += 1
                    fake = real[:-16] + STRANGE
                    answers = [
                        await bob.call_tool(tool.name, {**required, name: identifier})
                        for identifier in (real, fake)
                    ]
                    theirs = text_of(answers[0]).replace(real, "ID")
                    nobodys = text_of(answers[1]).replace(fake, "ID")
                    if not answers[0].is_error or theirs != nobodys:
                        wrong.append(f"{tool.name}({name}): {theirs[:200]} / {nobodys[:200]}")
    assert tried >= 12
    assert not wrong, "\n".join(wrong)


async def test_anothers_resources_answer_as_those_that_never_were(household: Household) -> None:
    wrong: list[str] = []
    tried = 0
    async with signed_in(household.server, household.tokens["bob"]) as bob:
        for template in (await bob.list_resource_templates()).resource_templates:
            for name, real in household.ids.items():
                if f"{{{name}}}" not in template.uri_template:
                    continue
                tried += 1
                told: list[str] = []
                for identifier in (real, real[:-16] + STRANGE):
                    uri = template.uri_template.replace(f"{{{name}}}", identifier)
                    uri = uri.replace("{+path}", "a.txt")
                    try:
                        await bob.read_resource(uri)
                        told.append("it was read")
                    except Exception as error:
                        told.append(str(error).replace(identifier, "ID"))
                if "it was read" in told or told[0] != told[1]:
                    wrong.append(f"{template.uri_template}: {told}")
    assert tried >= 8
    assert not wrong, "\n".join(wrong)


async def test_lists_show_the_callers_own_and_an_administrator_everything(
    household: Household,
) -> None:
    seen: dict[str, tuple[int, int, bool]] = {}
    for name, token in household.tokens.items():
        async with signed_in(household.server, token) as client:
            sagas = (await call(client, "saga_list", {}))["sagas"]
            tasks = (await call(client, "queue_list_tasks", {}))["tasks"]
            dead = await client.read_resource("queue://dead")
            assert json.loads(getattr(dead.contents[0], "text", ""))["tasks"] == []
            found = await client.call_tool("saga_get", {"saga_id": household.ids["saga_id"]})
            seen[name] = (len(sagas), len(tasks), not found.is_error)
    assert seen == {"alice": (2, 1, True), "bob": (0, 0, False), "root": (2, 1, True)}


async def test_the_same_key_of_two_principals_makes_two_things(household: Household) -> None:
    made: list[str] = []
    for name in ("alice", "bob", "alice"):
        async with signed_in(household.server, household.tokens[name]) as client:
            task = await call(
                client,
                "queue_add_task",
                {
                    "task_type": "sandbox.execute", "payload": {"code": "1"},
                    "delay_seconds": 3600, "idempotency_key": "same",
                },
            )  # fmt: skip
            made.append(task["task_id"])
            await call(client, "queue_cancel_task", {"task_id": task["task_id"]})
    assert made[0] == made[2] != made[1]


async def test_a_signal_of_anothers_id_tells_nothing(household: Household) -> None:
    async with signed_in(household.server, household.tokens["bob"]) as bob:
        answer = await bob.call_tool(
            "signal_publish", {"name": "bobs.signal", "signal_id": "alice-1"}
        )
    assert answer.is_error
    assert "alice.signal" not in text_of(answer)


async def test_what_concerns_everybody_is_for_administrators(household: Household) -> None:
    asked = {
        "queue_pause": {"priority": "LOW"},
        "queue_limit_type": {"task_type": "t", "starts": 1},
        "schedule_list": {},
        "signal_list_unrouted": {},
        "signal_remove_rule": {"name": "r"},
    }
    async with signed_in(household.server, household.tokens["bob"]) as bob:
        for name, arguments in asked.items():
            answer = await bob.call_tool(name, arguments)
            assert answer.is_error
            assert "[forbidden]" in text_of(answer)
    async with signed_in(household.server, household.tokens["root"]) as root:
        assert (await call(root, "schedule_list", {}))["schedules"] == []


async def test_asking_for_anothers_things_is_counted(household: Household) -> None:
    async with signed_in(household.server, household.tokens["bob"]) as bob:
        assert (await bob.call_tool("saga_get", {"saga_id": household.ids["saga_id"]})).is_error
    async with httpx.AsyncClient() as http:
        page = await http.get(
            household.server.url("/metrics"), headers=bearer(household.tokens["root"])
        )
    line = page.text.split('mcp_orchestrator_refusals_total{reason="not_owner"} ')[1]
    assert float(line.split("\n")[0]) >= 1
