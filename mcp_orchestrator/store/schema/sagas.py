"""Tables of the sagas: what each is doing now, everything that happened to it, and who runs it."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from mcp_orchestrator.store.canonical import CanonicalJson
from mcp_orchestrator.store.columns import UtcDateTime
from mcp_orchestrator.store.schema.metadata import metadata

#: Sagas that are not finished; written out, so that both planners match it to the partial indexes.
OPEN = text("finished_at IS NULL")

#: SQLite numbers rows by itself only where the key is a plain INTEGER.
_Serial = BigInteger().with_variant(Integer(), "sqlite")

saga_definitions = Table(
    "saga_definitions",
    metadata,
    Column("definition_hash", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("version", String(50), nullable=False),
    Column("body", CanonicalJson, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

#: Definitions that were given a name and a version; a version never changes.
saga_registrations = Table(
    "saga_registrations",
    metadata,
    Column("name", String(200)),
    Column("version", String(50)),
    Column("definition_hash", String(64), nullable=False),
    Column("registered_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("name", "version", name="pk_saga_registrations"),
)

saga_runners = Table(
    "saga_runners",
    metadata,
    Column("runner_id", String(200), primary_key=True),
    Column("lease_until", UtcDateTime, nullable=False),
)

saga_checkpoints = Table(
    "saga_checkpoints",
    metadata,
    Column("saga_id", String(64), primary_key=True),
    Column("saga_type", String(200), nullable=False),
    Column("version", String(50), nullable=False),
    Column("definition_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("goal", String(16), nullable=False),
    Column("current_step_index", Integer, nullable=False),
    Column("total_steps", Integer, nullable=False),
    Column("steps", CanonicalJson, nullable=False),
    Column("completed_steps", CanonicalJson, nullable=False),
    Column("compensated_steps", CanonicalJson, nullable=False),
    Column("context", CanonicalJson, nullable=False),
    Column("error", Text),
    Column("needs_person", CanonicalJson, nullable=False),
    Column("held_reason", Text),
    Column("retries", Integer, nullable=False),
    Column("user_id", String(200)),
    Column("ip_address", String(64)),
    Column("idempotency_key", String(200)),
    Column("parent_saga_id", String(64)),
    Column("traceparent", String(60)),
    Column("started_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("wake_at", UtcDateTime),
    Column("lease_owner", String(200)),
    Column("epoch", Integer, nullable=False),
    Column("takeovers", Integer, nullable=False),
    Column("audit_sequence", Integer, nullable=False),
    Column("audit_hash", String(64), nullable=False),
    CheckConstraint(
        "state IN ('idle', 'running', 'completed', 'compensating', 'failed', 'aborted')",
        name="state",
    ),
    CheckConstraint("goal IN ('completed', 'failed', 'aborted')", name="goal"),
    CheckConstraint(
        "(finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'aborted'))",
        name="finished",
    ),
    Index("ix_saga_checkpoints_state", "state"),
    Index("ix_saga_checkpoints_updated_at", "updated_at"),
    Index("ix_saga_checkpoints_open", "lease_owner", sqlite_where=OPEN, postgresql_where=OPEN),
)

#: One saga for each key of each user; a user who is not known is one more user.
Index(
    "uq_saga_checkpoints_idempotency",
    func.coalesce(saga_checkpoints.c.user_id, text("''")),
    saga_checkpoints.c.idempotency_key,
    unique=True,
)

saga_audit_logs = Table(
    "saga_audit_logs",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("saga_id", String(64), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("event_type", String(50), nullable=False),
    Column("step_name", String(200)),
    Column("step_index", Integer),
    Column("event_data", CanonicalJson, nullable=False),
    Column("context_snapshot", CanonicalJson),
    Column("error_message", Text),
    Column("error_stack_trace", Text),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("duration_ms", Float),
    Column("user_id", String(200)),
    Column("ip_address", String(64)),
    Column("saga_state_before", String(16), nullable=False),
    Column("saga_state_after", String(16), nullable=False),
    Column("retry_count", Integer, nullable=False),
    Column("runner_id", String(200), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("saga_id", "sequence", name="uq_saga_audit_logs_saga_id_sequence"),
    Index("ix_saga_audit_logs_saga_id_timestamp", "saga_id", "timestamp"),
    Index("ix_saga_audit_logs_event_type_timestamp", "event_type", "timestamp"),
    Index("ix_saga_audit_logs_user_id_timestamp", "user_id", "timestamp"),
    Index("ix_saga_audit_logs_step_name", "step_name"),
    Index("ix_saga_audit_logs_timestamp", "timestamp"),
    sqlite_autoincrement=True,
)

saga_anchors = Table(
    "saga_anchors",
    metadata,
    Column("first_id", BigInteger, primary_key=True, autoincrement=False),
    Column("last_id", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("signature", String(64), nullable=False),
)

saga_memos = Table(
    "saga_memos",
    metadata,
    Column("saga_id", String(64)),
    Column("name", String(200)),
    Column("value", CanonicalJson, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("saga_id", "name", name="pk_saga_memos"),
)

#: The data key of each encrypted saga, under a master key; none is left once it was erased.
saga_keys = Table(
    "saga_keys",
    metadata,
    Column("saga_id", String(64), primary_key=True),
    Column("wrapped_key", Text),
    Column("master_key_id", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("erased_at", UtcDateTime),
    CheckConstraint("(wrapped_key IS NULL) = (erased_at IS NOT NULL)", name="erased"),
)

saga_signal_keys = Table(
    "saga_signal_keys",
    metadata,
    Column("saga_id", String(64), primary_key=True),
    Column("key", String(500), primary_key=True),
)

saga_inbox = Table(
    "saga_inbox",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("saga_id", String(64), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("name", String(200)),
    Column("body", CanonicalJson, nullable=False),
    Column("user_id", String(200)),
    Column("sent_at", UtcDateTime, nullable=False),
    CheckConstraint("kind IN ('abort', 'signal')", name="kind"),
    Index("ix_saga_inbox_saga_id", "saga_id"),
    sqlite_autoincrement=True,
)
