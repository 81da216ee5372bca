"""Destructive tools: the person is asked where the client can, else a token shows it was seen."""

from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp import Client

from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.server.auth import LOCAL, Caller, Principal
from mcp_orchestrator.server.auth.caller import calling
from mcp_orchestrator.server.confirmations import GOOD_FOR, Confirmations
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.confirmations import UsedConfirmations
from mcp_orchestrator.store.engine import Database
from tests.services.orchestrator import (
    WAITS,
    Json,
    Way,
    call,
    confirmation_in,
    connect,
    http_server,
    refusal,
)
from tests.services.skipping_clock import SkippingClock


async def start(client: Client) -> str:
    """Start a saga that waits, and return its id."""
    saga = await call(client, "saga_start", {"name": "waiting", "steps": [WAITS]})
    saga_id: str = saga["saga_id"]
    return saga_id


async def test_a_token_of_one_server_is_good_once_at_another(tmp_path: Path) -> None:
    with http_server(tmp_path) as one, http_server(tmp_path) as other:
        async with Client(one.url("/mcp")) as first, Client(other.url("/mcp")) as second:
            saga_id = await start(first)
            abort: Json = {"saga_id": saga_id, "reason": "not needed"}
            told = await refusal(first, "saga_abort", abort)
            assert "[confirmation_needed] Nothing was done yet." in told
            token = confirmation_in(told)
            for wrong in (
                {**abort, "reason": "another"}, {**abort, "compensate": False},
                {**abort, "confirmation": "nonsense"}, {**abort, "confirmation": "é"},
            ):  # fmt: skip
                text = await refusal(second, "saga_abort", {"confirmation": token, **wrong})
                assert "not for this very call" in text
            assert (await call(second, "saga_get", {"saga_id": saga_id}))["state"] == "running"
            await call(second, "saga_abort", {**abort, "confirmation": token})
            again = await refusal(first, "saga_abort", {**abort, "confirmation": token})
            assert "used already" in again


class Person:
    """Answers forms; it remembers the questions."""

    def __init__(self, action: Any) -> None:
        self.action = action
        self.asked: list[str] = []

    async def __call__(self, _context: Any, params: Any) -> mcp_types.ElicitResult:
        self.asked.append(params.message)
        content: dict[str, Any] | None = {} if self.action == "accept" else None
        return mcp_types.ElicitResult(action=self.action, content=content)


@pytest.mark.parametrize("way", ["stdio-handshake", "http-modern"])
async def test_the_person_is_asked_where_the_client_can(way: Way, tmp_path: Path) -> None:
    person = Person("decline")
    async with connect(way, tmp_path, {}, elicitation_callback=person) as client:
        saga_id = await start(client)
        abort: Json = {"saga_id": saga_id, "reason": "not needed"}
        await refusal(client, "saga_abort", abort)
        assert (await call(client, "saga_get", {"saga_id": saga_id}))["state"] == "running"
        person.action = "accept"
        await call(client, "saga_abort", abort)
        waited = {"saga_id": saga_id, "wait_seconds": 50}
        assert (await call(client, "saga_get", waited))["state"] == "aborted"
        assert len(person.asked) == 2
        assert saga_id in person.asked[0]
        rule = {"name": "r", "pattern": "a.*", "target": {"kind": "task", "task_type": "x.y"}}
        await client.call_tool("signal_add_rule", rule)
        assert len(person.asked) == 2  # nothing was there to be lost


async def test_every_tool_that_says_it_destroys_takes_a_confirmation(tmp_path: Path) -> None:
    async with connect("stdio-handshake", tmp_path, {}) as client:
        for tool in (await client.list_tools()).tools:
            destroys = tool.annotations is not None and tool.annotations.destructive_hint
            takes = "confirmation" in tool.input_schema["properties"]
            assert bool(destroys) == takes, tool.name


async def test_a_token_is_for_one_principal_and_runs_out(database: Database) -> None:
    clock = SkippingClock()
    alice = Caller(Principal("alice", frozenset({"write"})))
    async with GroupCommitter(database) as committer:
        used = UsedConfirmations(database, committer, clock)
        confirmations = Confirmations(b"k" * 32, used, clock)
        with calling(alice):
            token = confirmations.issue("tool", {"a": 1})
            late = confirmations.issue("tool", {"a": 2})
        with calling(Caller(LOCAL)), pytest.raises(ConflictError, match="this very call"):
            await confirmations.redeem(token, "tool", {"a": 1})
        with calling(alice):
            with pytest.raises(ConflictError, match="this very call"):
                await confirmations.redeem(token, "another", {"a": 1})
            await confirmations.redeem(token, "tool", {"a": 1})
            await clock.sleep(GOOD_FOR.total_seconds() + 1)
            with pytest.raises(ConflictError, match="run out"):
                await confirmations.redeem(late, "tool", {"a": 2})
