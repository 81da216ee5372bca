"""Access tokens on every database: shown once, kept as hashes, gone when revoked or expired."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from mcp_orchestrator.errors import ConflictError, InvalidInputError, NotFoundError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.tokens import access_tokens
from mcp_orchestrator.store.tokens import TokenStore
from tests.services.skipping_clock import SkippingClock


async def test_a_token_is_found_until_it_is_revoked_and_its_secret_is_nowhere(
    database: Database,
) -> None:
    clock = SkippingClock()
    async with GroupCommitter(database) as committer:
        store = TokenStore(database, committer, clock)
        token, made = await store.create("alice", ["queue:read", "saga:write"])
        await clock.sleep(1)
        other, _ = await store.create("bob", ["admin"])
        found = await store.find(token)
        assert found is not None
        assert found == made
        assert found.scopes == ("queue:read", "saga:write")
        secret = token.rpartition(f"{made.token_id}_")[2]
        async with database.read() as connection:
            rows = (await connection.execute(select(access_tokens))).all()
        assert secret not in repr(rows)
        mixed = token[: -len(secret)] + other[-len(secret) :]
        for wrong in ("", "mcpo_", token[:-1], token + "x", mixed, token.upper(), f"{token}\n"):
            assert await store.find(wrong) is None
        await store.revoke(made.token_id)
        assert await store.find(token) is None
        assert await store.find(other) is not None
        listed = await store.list_tokens()
        assert [(one.principal, one.revoked_at is not None) for one in listed] == [
            ("alice", True), ("bob", False),
        ]  # fmt: skip
        with pytest.raises(ConflictError):
            await store.revoke(made.token_id)
        with pytest.raises(NotFoundError):
            await store.revoke("nothing")


async def test_a_token_expires(database: Database) -> None:
    clock = SkippingClock()
    async with GroupCommitter(database) as committer:
        store = TokenStore(database, committer, clock)
        ends = clock.now() + timedelta(hours=1)
        token, _ = await store.create("alice", ["read"], expires_at=ends)
        assert await store.find(token) is not None
        await clock.sleep(3600)
        assert await store.find(token) is None
        with pytest.raises(InvalidInputError):
            await store.create("alice", ["read"], expires_at=ends)


@pytest.mark.parametrize("name", ["", "oauth:alice", "a b", "-x", "a" * 101, "ü"])
async def test_a_principal_cannot_be_named_so(database: Database, name: str) -> None:
    async with GroupCommitter(database) as committer:
        with pytest.raises(InvalidInputError):
            await TokenStore(database, committer, SkippingClock()).create(name, ["read"])
