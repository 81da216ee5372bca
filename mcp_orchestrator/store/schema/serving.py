"""Tables of what the servers behind one address share beside the work itself."""

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table

from mcp_orchestrator.store.columns import Json, UtcDateTime
from mcp_orchestrator.store.schema.metadata import metadata

#: Secrets that one server makes and every server uses, one for each purpose.
server_keys = Table(
    "server_keys",
    metadata,
    Column("purpose", String(50), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

#: Confirmations that have been used, until they would have run out anyway.
used_confirmations = Table(
    "used_confirmations",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_used_confirmations_expires_at", "expires_at"),
)

#: What a tool that runs as an MCP task has asked its client, and what came back.
mcp_task_questions = Table(
    "mcp_task_questions",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("key", String(300), primary_key=True),
    Column("question", Json, nullable=False),
    Column("answer", Json),
)
