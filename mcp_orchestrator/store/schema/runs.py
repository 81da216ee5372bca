"""Tables of the runs."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from mcp_orchestrator.store.columns import Json, UtcDateTime
from mcp_orchestrator.store.schema.metadata import metadata

#: One row for each program that the sandbox ran or refused; never changed, never deleted.
sandbox_runs = Table(
    "sandbox_runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("language", String(16), nullable=False),
    Column("code_hash", String(64), nullable=False),
    Column("files_hash", String(64)),
    Column("status", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("exit_code", Integer),
    Column("stdout", LargeBinary, nullable=False),
    Column("stderr", LargeBinary, nullable=False),
    Column("risk_score", Integer, nullable=False),
    Column("risk_findings", Json, nullable=False),
    Column("backend", String(16), nullable=False),
    Column("layers", Json, nullable=False),
    Column("limits", Json, nullable=False),
    Column("duration_seconds", Float, nullable=False),
    Column("cpu_seconds", Float),
    Column("peak_memory_bytes", BigInteger),
    Column("owner", String(255)),
    Column("saga_id", String(64)),
    Column("task_id", String(64)),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=False),
    Column("session_id", String(64)),
    Column("artifacts", Json),
    Column("chain_id", String(64)),
    Column("sequence", BigInteger),
    Column("hash", String(64)),
    Index("ux_sandbox_runs_chain_id_sequence", "chain_id", "sequence", unique=True),
    Index("ix_sandbox_runs_saga_id", "saga_id"),
    Index("ix_sandbox_runs_owner_started_at", "owner", "started_at"),
)

#: The head of each chain of runs: how long it is, and the hash of its last row.
sandbox_run_chains = Table(
    "sandbox_run_chains",
    metadata,
    Column("chain_id", String(64), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

#: What runs left behind; deleted after a while, when the hashes in the runs' rows stay.
sandbox_run_files = Table(
    "sandbox_run_files",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("path", String(255), primary_key=True),
    Column("media_type", String(255), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_sandbox_run_files_created_at", "created_at"),
)
