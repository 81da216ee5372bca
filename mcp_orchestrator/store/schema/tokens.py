"""Table of the access tokens: who may use a server over the network, and for what."""

from sqlalchemy import Column, Index, String, Table

from mcp_orchestrator.store.columns import Json, UtcDateTime
from mcp_orchestrator.store.schema.metadata import metadata

#: One row a token, of which only the hash is kept; a revoked one stays, so that it can be listed.
access_tokens = Table(
    "access_tokens",
    metadata,
    Column("token_id", String(32), primary_key=True),
    Column("principal", String(100), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Index("ix_access_tokens_principal", "principal"),
)
