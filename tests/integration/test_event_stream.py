"""`/ws/events` on real servers: across replicas, filtered, resumed, and never in the way."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from mcp_orchestrator.web.events import PROTOCOL
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


class Ear:
    """One who listens."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.heard: list[Json] = []

    async def next(self) -> Json:
        """Return the next message."""
        with anyio.fail_after(60):
            message: Json = json.loads(await self._socket.recv())
        self.heard.append(message)
        return message

    async def until(self, condition: Callable[[Json], bool]) -> Json:
        """Return the first message that fulfils a condition."""
        while True:
            message = await self.next()
            if condition(message):
                return message

    @property
    def events(self) -> list[Json]:
        """Every event so far."""
        return [event for message in self.heard for event in message.get("events", [])]

    @property
    def states(self) -> dict[str, str]:
        """How each saga stands by what was heard: snapshots, and events after them."""
        states: dict[str, str] = {}
        for message in self.heard:
            states |= {saga["saga_id"]: saga["state"] for saga in message.get("sagas", [])}
            states |= {event["id"]: event["state"] for event in message.get("events", [])}
        return states


@asynccontextmanager
async def listening(server: HttpServer, query: str = "", **options: Any) -> AsyncGenerator[Ear]:
    address = f"ws://127.0.0.1:{server.port}/ws/events?{query}"
    async with connect(address, proxy=None, **options) as socket:
        yield Ear(socket)


def tells(event: str) -> Callable[[Json], bool]:
    """Return whether a message tells of an event."""
    return lambda message: any(one["event"] == event for one in message.get("events", []))


async def start(client: Client, *steps: Json) -> str:
    saga = await call(client, "saga_start", {"name": "trip", "steps": list(steps)})
    saga_id: str = saga["saga_id"]
    return saga_id


async def test_what_one_replica_does_is_heard_at_another(tmp_path: Path) -> None:
    with http_server(tmp_path) as one, http_server(tmp_path) as other:
        async with Client(one.url("/mcp")) as client, listening(other, "kinds=saga") as ear:
            hello = await ear.next()
            assert (hello["type"], hello["version"]) == ("hello", 1)
            assert (await ear.next())["type"] == "snapshot"
            saga_id = await start(client, FLIGHT)
            await ear.until(tells("saga_complete"))
    mine = [event for event in ear.events if event["id"] == saga_id]
    assert [event["event"] for event in mine][:2] == ["saga_start", "step_start"]
    assert [event["cursor"] for event in mine] == sorted(event["cursor"] for event in mine)
    assert mine[-1]["state"] == "completed"


async def test_a_listener_goes_on_from_its_cursor_and_hears_only_what_it_chose(
    tmp_path: Path,
) -> None:
    with http_server(tmp_path) as server:
        async with Client(server.url("/mcp")) as client:
            async with listening(server, "kinds=saga") as ear:
                await ear.until(lambda message: message["type"] == "snapshot")
                cursor = ear.heard[0]["cursor"]
            first, second = await start(client, FLIGHT), await start(client, FLIGHT)
            for saga_id in (first, second):
                await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 45})
            async with listening(server, f"kinds=saga&ids={second}&cursor={cursor}") as ear:
                await ear.until(tells("saga_complete"))
            assert {event["id"] for event in ear.events} == {second}
            assert [message["type"] for message in ear.heard][:2] == ["hello", "events"]
            events = [event["event"] for event in ear.events]
            assert events[0] == "saga_start"
            assert len(events) == len(set(events))


async def test_too_much_at_a_time_is_told_as_a_snapshot(tmp_path: Path) -> None:
    with http_server(tmp_path) as server:
        async with Client(server.url("/mcp")) as client, listening(server, "kinds=saga") as ear:
            await ear.until(lambda message: message["type"] == "snapshot")
            steps = [{**FLIGHT, "name": f"flight{number}"} for number in range(60)]
            saga_ids = [await start(client, *steps) for _ in range(3)]
            for saga_id in saga_ids:
                await call(client, "saga_get", {"saga_id": saga_id, "wait_seconds": 45})
            async with listening(server, "kinds=saga&cursor=0") as late:
                assert (await late.next())["type"] == "hello"
                assert (await late.next())["type"] == "snapshot"
                while late.states != dict.fromkeys(saga_ids, "completed"):
                    await late.next()  # what came after the snapshot's cursor


async def test_the_queue_is_told_of_when_it_changes(tmp_path: Path) -> None:
    with http_server(tmp_path, MCP_ORCHESTRATOR_EMBEDDED_WORKER="false") as server:
        async with Client(server.url("/mcp")) as client, listening(server, "kinds=queue") as ear:
            assert "queue" in await ear.until(lambda message: message["type"] == "snapshot")
            task = {"task_type": "sandbox.execute", "payload": {"code": "1"}, "priority": "HIGH"}
            await call(client, "queue_add_task", task)
            await ear.until(
                lambda message: (
                    message["type"] == "queue" and message["queue"]["waiting"]["HIGH"] == 1
                )
            )


async def test_each_hears_only_of_their_own(tmp_path: Path) -> None:
    tokens = {name: await make_token(tmp_path, name, ["write"]) for name in ("ann", "bob")}
    tokens["root"] = await make_token(tmp_path, "root", ["admin"])
    with http_server(tmp_path, MCP_ORCHESTRATOR_AUTH="token") as server:
        offered = [Subprotocol(PROTOCOL), Subprotocol(f"bearer.{tokens['ann']}")]
        async with (
            signed_in(server, tokens["ann"]) as ann,
            signed_in(server, tokens["bob"]) as bob,
            listening(server, subprotocols=offered) as anns,
            listening(server, additional_headers=bearer(tokens["root"])) as roots,
        ):
            for ear in (anns, roots):
                await ear.until(lambda message: message["type"] == "snapshot")
            theirs, hers = await start(bob, FLIGHT), await start(ann, FLIGHT)
            done = {hers, theirs}
            await anns.until(tells("saga_complete"))
            while {e["id"] for e in roots.events if e["event"] == "saga_complete"} != done:
                await roots.next()
        assert {event["id"] for event in anns.events} == {hers}
        for query, options in (
            ("", {}),
            ("kinds=weather", {"additional_headers": bearer(tokens["ann"])}),
        ):
            async with listening(server, query, **options) as ear:
                with pytest.raises(ConnectionClosed) as closed:
                    await ear.until(lambda message: message["type"] == "events")
            received = closed.value.rcvd
            assert received is not None
            assert received.code == (4400 if query else 4401)
        with pytest.raises(InvalidStatus):
            async with listening(server, origin="https://evil.example.com"):
                pass
