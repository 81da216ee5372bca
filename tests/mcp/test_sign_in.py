"""Signing in over HTTP and SSE: who gets in, and what a request may look like."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.client.sse import sse_client

from mcp_orchestrator.runtime import open_tokens
from mcp_orchestrator.settings import Settings
from tests.services.issuer import Issuer, issuer
from tests.services.orchestrator import HttpServer, call, http_server, refusal
from tests.services.signed_in import bearer, make_token, signed_in

PUBLIC = "https://mcp.example.com"
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}  # fmt: skip
ACCEPT = {"Accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class Guarded:
    """A server that asks for tokens, and whom to get them from."""

    server: HttpServer
    folder: Path
    issuer: Issuer
    token: str

    async def post(self, headers: dict[str, str], **more: Any) -> httpx.Response:
        """Send the first request of a session."""
        body: dict[str, Any] = more or {"json": INITIALIZE}
        async with httpx.AsyncClient(timeout=30) as http:
            return await http.post(self.server.url("/mcp"), headers={**ACCEPT, **headers}, **body)


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    token = await make_token(folder, "alice", ["write"])
    with issuer() as trusted:
        settings = {
            "MCP_ORCHESTRATOR_AUTH": "token,oauth",
            "MCP_ORCHESTRATOR_PUBLIC_URL": PUBLIC,
            "MCP_ORCHESTRATOR_OAUTH_ISSUER": trusted.url,
        }
        with http_server(folder, **settings) as server:
            yield Guarded(server, folder, trusted, token)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/sse"),
        ("POST", "/messages/?session_id=00000000000000000000000000000000"), ("GET", "/metrics"),
    ],
)  # fmt: skip
async def test_without_a_token_nothing_is_reached(guarded: Guarded, method: str, path: str) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.request(method, guarded.server.url(path), json=INITIALIZE)
        alive = await http.get(guarded.server.url("/health"))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert alive.status_code == 200


async def test_bad_tokens_are_refused_and_counted(guarded: Guarded) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=5)
    other_folder = guarded.folder / "elsewhere"
    tokens = {
        "of another server": await make_token(other_folder, "alice", ["admin"]),
        "cut short": guarded.token[:-1],
        "no token": "abc",
        "wrong audience": guarded.issuer.token("https://other.example.com/mcp"),
        "expired": guarded.issuer.token(f"{PUBLIC}/mcp", exp=soon - timedelta(hours=1)),
        "wrong issuer": guarded.issuer.token(f"{PUBLIC}/mcp", iss="https://evil.example.com"),
    }
    for what, token in tokens.items():
        answer = await guarded.post(bearer(token))
        assert answer.status_code == 401, what
        assert "invalid_token" in answer.headers["www-authenticate"]
    admin = await make_token(guarded.folder, "root", ["admin"])
    assert await _counted(guarded, admin, "no_valid_token") >= len(tokens)


async def _counted(guarded: Guarded, admin: str, reason: str) -> float:
    async with httpx.AsyncClient() as http:
        page = await http.get(guarded.server.url("/metrics"), headers=bearer(admin))
        reader = await make_token(guarded.folder, "queue-reader", ["queue:read"])
        refused = await http.get(guarded.server.url("/metrics"), headers=bearer(reader))
    assert refused.status_code == 403
    line = f'mcp_orchestrator_refusals_total{{reason="{reason}"}} '
    return float(page.text.split(line)[1].split("\n")[0])


async def test_a_token_and_an_oauth_token_let_in_over_every_transport(guarded: Guarded) -> None:
    oauth = guarded.issuer.token(f"{PUBLIC}/mcp")
    for token in (guarded.token, oauth):
        for mode in ("legacy", "2026-07-28"):
            async with signed_in(guarded.server, token, mode) as client:
                await call(client, "health", {})
        transport = sse_client(guarded.server.url("/sse"), headers=bearer(token))
        async with Client(transport, mode="legacy") as client:
            await call(client, "health", {})


async def test_a_client_is_told_where_to_get_a_token(guarded: Guarded) -> None:
    refused = await guarded.post({})
    where = f"{PUBLIC}/.well-known/oauth-protected-resource/mcp"
    assert where in refused.headers["www-authenticate"]
    async with httpx.AsyncClient() as http:
        page = await http.get(guarded.server.url("/.well-known/oauth-protected-resource/mcp"))
    told = page.json()
    assert told["resource"] == f"{PUBLIC}/mcp"
    assert told["authorization_servers"] == [guarded.issuer.url]
    assert "write" in told["scopes_supported"]


async def test_a_revoked_token_is_refused_by_a_running_server(guarded: Guarded) -> None:
    token = await make_token(guarded.folder, "mallory", ["read"])
    assert (await guarded.post(bearer(token))).status_code == 200
    async with open_tokens(Settings.model_validate({"data_dir": guarded.folder})) as tokens:
        await tokens.revoke(token.split("_")[1])
    assert (await guarded.post(bearer(token))).status_code == 401


async def test_a_session_belongs_to_whoever_began_it(guarded: Guarded) -> None:
    other = await make_token(guarded.folder, "bob", ["write"])
    session = (await guarded.post(bearer(guarded.token))).headers["mcp-session-id"]
    body = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    mine = await guarded.post({**bearer(guarded.token), **headers}, json=body)
    theirs = await guarded.post({**bearer(other), **headers}, json=body)
    assert (mine.status_code, theirs.status_code) == (200, 404)


async def test_a_scope_limits_what_is_shown_and_what_is_done(guarded: Guarded) -> None:
    reader = await make_token(guarded.folder, "reader", ["queue:read"])
    async with signed_in(guarded.server, reader) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert "queue_stats" in names
        others = ("saga_", "sandbox_", "reasoning_", "codegen_", "loop_")
        assert not [name for name in names if name.startswith(others)]
        assert "queue_add_task" not in names
        told = await refusal(client, "queue_add_task", {"task_type": "sandbox.execute"})
        assert "queue:write" in told
        assert "saga:read" in await refusal(client, "saga_list", {})
        templates = (await client.list_resource_templates()).resource_templates
        assert {one.uri_template.split(":")[0] for one in templates} <= {"task", "queue", "ui"}
        with pytest.raises(Exception, match="Unknown resource"):
            await client.read_resource("saga://saga_1")
    async with signed_in(guarded.server, guarded.token) as client:
        assert (await call(client, "queue_list_tasks", {}))["tasks"] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example.com"}, 421),
        ({"Host": "evil.example.com:8765"}, 421),
        ({"Host": "127.0.0.1.evil.example.com"}, 421),
        ({"Host": "mcp.example.com"}, 200),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example.com:1"}, 403),
        ({"Origin": PUBLIC}, 200),
        ({"Origin": "http://localhost:6274"}, 200),
    ],
    ids=str,
)
async def test_only_expected_hosts_and_origins_are_let_through(
    guarded: Guarded, headers: dict[str, str], status: int
) -> None:
    answer = await guarded.post({**bearer(guarded.token), **headers})
    assert answer.status_code == status


async def test_metrics_refuse_a_rebinding_name_too(guarded: Guarded) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.get(
            guarded.server.url("/metrics"), headers={"Host": "evil.example.com"}
        )
    assert answer.status_code == 421


async def test_oversized_and_deeply_nested_bodies_are_refused(guarded: Guarded) -> None:
    token = bearer(guarded.token)
    json_type = {**token, "Content-Type": "application/json"}
    big = await guarded.post(json_type, content=b'"' + b"x" * (5 << 20) + b'"')
    assert big.status_code == 413
    for deep in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
        answer = await guarded.post(json_type, content=deep)
        assert answer.status_code == 400
    nested: Any = 1
    for _ in range(150):
        nested = {"a": nested}
    async with signed_in(guarded.server, guarded.token) as client:
        told = await client.call_tool("signal_publish", {"name": "deep", "payload": nested})
        assert told.content
        await call(client, "health", {})
    assert (await guarded.post(token)).status_code == 200


@pytest.mark.parametrize(
    "uri",
    [
        "run://../../etc/passwd",
        "run://x/artifacts/../../../etc/passwd",
        "run://x/artifacts//etc/passwd",
        "run://x/artifacts/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "run://x/artifacts/a%00b",
        "saga://%2e%2e",
        "saga://' OR 1=1 --",
        "loop://../code",
        "file:///etc/passwd",
        "task://",
    ],
)
async def test_tricks_in_resource_addresses_find_nothing(guarded: Guarded, uri: str) -> None:
    async with signed_in(guarded.server, guarded.token) as client:
        with pytest.raises(Exception, match=r"(?i)unknown resource|there is no"):
            await client.read_resource(uri)


async def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    alice = await make_token(tmp_path, "alice", ["read"])
    bob = await make_token(tmp_path, "bob", ["read"])
    settings = {
        "MCP_ORCHESTRATOR_AUTH": "token", "MCP_ORCHESTRATOR_REQUESTS_PER_MINUTE": "6",
    }  # fmt: skip
    with http_server(tmp_path, **settings) as server:
        async with httpx.AsyncClient(timeout=30) as http:

            async def status(token: str) -> httpx.Response:
                return await http.post(
                    server.url("/mcp"), headers={**ACCEPT, **bearer(token)}, json=INITIALIZE
                )

            assert (await status(alice)).status_code == 200
            refused = await status(alice)
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["retry-after"]) <= 10
            assert (await status(bob)).status_code == 200


async def test_the_audit_trail_says_who_asked_and_from_where(guarded: Guarded) -> None:
    step = {"name": "wait", "action": "saga.sleep", "arguments": {"seconds": 0}}
    async with signed_in(guarded.server, guarded.token) as client:
        saga = await call(
            client, "saga_start", {"name": "named", "steps": [step], "wait_seconds": 20}
        )
        trail = await client.read_resource(f"saga://{saga['saga_id']}/audit")
    text = str(trail.contents[0])
    assert '"user_id": "alice"' in text.replace("\\", "")
    assert '"ip_address": "127.0.0.1"' in text.replace("\\", "")
