"""The HTTP API on a real server: its document, each endpoint, who may ask for what."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jsonschema
import pytest

from tests.services.orchestrator import HttpServer, Json, call, http_server
from tests.services.signed_in import bearer, make_token, signed_in

FLIGHT: Json = {
    "name": "flight",
    "action": "travel.reserve_flight",
    "arguments": {"origin": "ZRH", "destination": "LIS"},
}
ASKS: Json = {
    "name": "ask", "action": "saga.wait_for_signal", "arguments": {"signal": "go"},
}  # fmt: skip
API = "/api/v1"


@dataclass(frozen=True)
class Office:
    """A server, clients of two people and an administrator, and alice's work."""

    server: HttpServer
    people: dict[str, httpx2.AsyncClient]
    ids: dict[str, str]
    document: Json

    async def ask(self, who: str, path: str, **query: Any) -> Json:
        """GET what must be answered, by the document's word."""
        answer = await self.people[who].get(self.server.url(API + path), params=query)
        assert answer.status_code == 200, answer.text
        return self._checked("get", path, answer.json())

    async def order(self, who: str, path: str, body: Json) -> Json:
        """POST what must be done."""
        answer = await self.people[who].post(self.server.url(API + path), json=body)
        assert answer.status_code == 200, answer.text
        return self._checked("post", path, answer.json())

    async def refusal(self, who: str, path: str, body: Json | None = None) -> Json:
        """Ask what must be refused."""
        url, client = self.server.url(API + path), self.people[who]
        answer = await (client.get(url) if body is None else client.post(url, json=body))
        assert answer.status_code >= 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem: Json = answer.json()
        assert problem["status"] == answer.status_code
        return problem

    def _checked(self, method: str, path: str, found: Json) -> Json:
        template = API + path
        for name, value in self.ids.items():
            template = template.replace(value, f"{{{name}_id}}")
        operation = self.document["paths"][template][method]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": self.document["components"]}
        jsonschema.validate(found, whole)
        return found


@pytest.fixture(scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    folder: Path = tmp_path_factory.mktemp("office")
    scopes = {"alice": ["write"], "bob": ["write"], "reader": ["read"], "root": ["admin"]}
    tokens = {name: await make_token(folder, name, given) for name, given in scopes.items()}
    with http_server(folder, MCP_ORCHESTRATOR_AUTH="token") as server:
        async with signed_in(server, tokens["alice"]) as client:
            saga = await call(client, "saga_start", {"name": "trip", "steps": [FLIGHT, ASKS]})
            run = await call(client, "sandbox_execute", {"code": "print(6 * 7)"})
        async with (
            httpx2.AsyncClient(headers=bearer(tokens["alice"]), timeout=60) as alice,
            httpx2.AsyncClient(headers=bearer(tokens["bob"]), timeout=60) as bob,
            httpx2.AsyncClient(headers=bearer(tokens["reader"]), timeout=60) as reader,
            httpx2.AsyncClient(headers=bearer(tokens["root"]), timeout=60) as root,
            httpx2.AsyncClient(timeout=60) as nobody,
        ):
            people = {"alice": alice, "bob": bob, "reader": reader, "root": root, "nobody": nobody}
            document: Json = (await nobody.get(server.url(f"{API}/openapi.json"))).json()
            ids = {"saga": saga["saga_id"], "run": run["run_id"]}
            yield Office(server, people, ids, document)


async def test_the_document_names_every_path_once_with_all_its_schemas(office: Office) -> None:
    assert office.document["openapi"] == "3.1.0"
    paths = office.document["paths"]
    assert len(paths) >= 20
    operations = [one["operationId"] for path in paths.values() for one in path.values()]
    assert len(set(operations)) == len(operations)
    text = str(office.document)
    for name in office.document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text
    jsonschema.Draft202012Validator.check_schema({"components": office.document["components"]})


async def test_a_saga_is_found_read_and_verified(office: Office) -> None:
    saga_id = office.ids["saga"]
    found = await office.ask("alice", "/sagas", saga_type="trip", limit=5)
    assert [one["saga_id"] for one in found["sagas"]] == [saga_id]
    one = await office.ask("alice", f"/sagas/{saga_id}")
    assert (one["owner"], one["steps"][0]["name"]) == ("alice", "flight")
    page = await office.ask("alice", f"/sagas/{saga_id}/audit", limit=2)
    rest = await office.ask("alice", f"/sagas/{saga_id}/audit", after=page["after"])
    assert [event["sequence"] for event in page["events"]] == [1, 2]
    assert rest["events"][0]["sequence"] == 3
    assert (await office.ask("alice", f"/sagas/{saga_id}/verification"))["intact"] is True


async def test_a_run_is_listed_and_read(office: Office) -> None:
    listed = await office.ask("alice", "/runs", limit=10)
    assert office.ids["run"] in [one["run_id"] for one in listed["runs"]]
    run = await office.ask("alice", f"/runs/{office.ids['run']}")
    assert (run["stdout"], run["status"]) == ("42\n", "ok")


async def test_a_task_is_submitted_read_and_cancelled(office: Office) -> None:
    body = {"task_type": "sandbox.execute", "payload": {"code": "1"}, "delay_seconds": 3600}
    task = await office.order("alice", "/queue/tasks", body)
    office.ids["task"] = task["task_id"]
    listed = await office.ask("alice", "/queue/tasks", status="scheduled")
    assert [one["task_id"] for one in listed["tasks"]] == [task["task_id"]]
    assert (await office.ask("alice", f"/queue/tasks/{task['task_id']}"))["status"] == "scheduled"
    assert (await office.refusal("bob", f"/queue/tasks/{task['task_id']}"))["status"] == 404
    done = await office.order("alice", f"/queue/tasks/{task['task_id']}/cancel", {})
    assert done["status"] == "cancelled"
    refused = await office.refusal("alice", f"/queue/tasks/{task['task_id']}/retry", {})
    assert refused["status"] == 409
    stats = await office.ask("alice", "/queue")
    assert stats["by_status"]["cancelled"] == 1


async def test_nobody_sees_or_touches_what_is_not_theirs(office: Office) -> None:
    saga_id, run_id = office.ids["saga"], office.ids["run"]
    assert (await office.ask("bob", "/sagas"))["sagas"] == []
    assert (await office.ask("bob", "/runs"))["runs"] == []
    for path in (f"/sagas/{saga_id}", f"/sagas/{saga_id}/audit", f"/runs/{run_id}"):
        assert (await office.refusal("bob", path))["code"] == "not_found"
    order = {"reason": "mine now"}
    assert (await office.refusal("bob", f"/sagas/{saga_id}/abort", order))["status"] == 404
    assert (await office.refusal("reader", f"/sagas/{saga_id}/abort", order))["status"] == 403
    assert (await office.refusal("nobody", "/sagas"))["status"] == 401
    assert (await office.ask("root", f"/sagas/{saga_id}"))["owner"] == "alice"
    assert (await office.ask("root", "/health"))["ok"] in (True, False)


async def test_an_order_needs_a_reason_and_is_signed_in_the_audit(office: Office) -> None:
    async with signed_in(office.server, _token(office, "alice")) as client:
        saga = await call(client, "saga_start", {"name": "doomed", "steps": [FLIGHT, ASKS]})
    below = f"/sagas/{saga['saga_id']}"
    office.ids["saga"], kept = saga["saga_id"], office.ids["saga"]
    try:
        assert (await office.refusal("alice", f"{below}/abort", {}))["code"] == "invalid_input"
        await office.order("alice", f"{below}/abort", {"reason": "changed our minds"})
        with anyio.fail_after(60):
            while (one := await office.ask("alice", below))["finished_at"] is None:
                continue
        assert one["state"] == "aborted"
        events = (await office.ask("alice", f"{below}/audit"))["events"]
        (asked,) = [event for event in events if event["event"] == "abort_requested"]
        assert asked["data"]["reason"] == "changed our minds"
    finally:
        office.ids["saga"] = kept


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/sagas?limit=0", None, 400),
        ("/sagas?state=asleep", None, 400),
        ("/nothing", None, 404),
        ("/sagas/saga_of_nobody", None, 404),
        ("/queue/tasks", {"task_type": "no.such"}, 400),
        ("/queue/tasks", {}, 400),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_reason(
    office: Office, path: str, body: Json | None, status: int
) -> None:
    refused = await office.refusal("alice", path, body)
    assert refused["status"] == status
    assert refused["detail"]


async def test_a_foreign_page_and_an_endless_body_are_refused(office: Office) -> None:
    alice, url = office.people["alice"], office.server.url(f"{API}/queue/tasks")
    foreign = await alice.get(url, headers={"Origin": "https://evil.example.com"})
    assert foreign.status_code == 403
    plain = await alice.post(url, content=b"{}", headers={"Content-Type": "text/plain"})
    assert plain.status_code == 400
    long = await alice.post(url, json={"task_type": "x" * 3_000_000})
    assert long.status_code == 422


def _token(office: Office, who: str) -> str:
    header: str = office.people[who].headers["Authorization"]
    return header.removeprefix("Bearer ")
