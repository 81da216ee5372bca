"""A change that one server makes is told to clients of another, in both protocol eras."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import ResourceTemplateReference, ResourceUpdatedNotification

from tests.services.orchestrator import MODERN, WAITS, call, http_server
from tests.services.signed_in import make_token, signed_in


@pytest.mark.filterwarnings("ignore:resources/:mcp.MCPDeprecationWarning")  # the old era's words
async def test_clients_of_another_server_are_told_of_a_change(tmp_path: Path) -> None:
    told = anyio.Event()

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            told.set()

    with http_server(tmp_path) as watching, http_server(tmp_path) as changing:
        here, there = watching.url("/mcp"), changing.url("/mcp")
        async with (
            Client(there, mode=MODERN) as actor,
            Client(here, mode="legacy", message_handler=hear) as old,
            Client(here, mode=MODERN) as new,
        ):
            saga = await call(actor, "saga_start", {"name": "s", "steps": [WAITS]})
            uri = f"saga://{saga['saga_id']}"
            await old.subscribe_resource(uri)  # pyright: ignore[reportDeprecated]  # likewise
            async with new.listen(resource_subscriptions=[uri, "saga://unknown"]) as changes:
                assert changes.honored.resource_subscriptions == [uri]
                await call(actor, "saga_signal", {"saga_id": saga["saga_id"], "signal": "go"})
                with anyio.fail_after(60):
                    async for change in changes:
                        assert getattr(change, "uri", None) == uri
                        break
                    await told.wait()
            await old.unsubscribe_resource(uri)  # pyright: ignore[reportDeprecated]  # likewise
            with pytest.raises(Exception, match="Unknown resource"):
                await old.subscribe_resource("saga://unknown")  # pyright: ignore[reportDeprecated]  # likewise


async def test_ids_are_completed_from_the_callers_own(tmp_path: Path) -> None:
    alice, bob = [await make_token(tmp_path, name, ["write"]) for name in ("alice", "bob")]
    template = ResourceTemplateReference(uri="saga://{saga_id}")
    with http_server(tmp_path, MCP_ORCHESTRATOR_AUTH="token") as server:
        async with signed_in(server, alice) as client:
            saga = await call(client, "saga_start", {"name": "s", "steps": [WAITS]})
            wanted = {"name": "saga_id", "value": "saga_"}
            found = await client.complete(template, wanted)
            assert found.completion.values == [saga["saga_id"]]
            listed = await client.read_resource("sagas://recent")
            assert saga["saga_id"] in str(listed.contents)
        async with signed_in(server, bob) as client:
            assert (await client.complete(template, wanted)).completion.values == []
            assert saga["saga_id"] not in str(
                (await client.read_resource("sagas://recent")).contents
            )
