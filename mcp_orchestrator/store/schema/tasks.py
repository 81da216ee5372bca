"""Tables of the task queue.

Payload and result are JSON kept as text: they are read whole, never searched, and come back
exactly as they were given (JSONB would reorder keys and refuse NUL characters).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
)

from mcp_orchestrator.store.columns import Json, UtcDateTime
from mcp_orchestrator.store.schema.metadata import metadata

tasks = Table(
    "tasks",
    metadata,
    Column(
        "sequence",
        BigInteger().with_variant(Integer(), "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("task_id", String(64), nullable=False, unique=True),
    Column("queue", String(64), nullable=False),
    Column("task_type", String(200), nullable=False),
    Column("payload", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("max_retries", Integer, nullable=False),
    Column("timeout", Float),
    Column("idempotency_key", Text),
    Column("unique_key", Text),
    Column("owner", Text),
    Column("preemptible", Boolean, nullable=False, server_default=false()),
    Column("traceparent", String(60)),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("created_at", UtcDateTime, nullable=False),
    Column("available_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("worker_id", String(200)),
    Column("lease_until", UtcDateTime),
    Column("result", Text),
    Column("error", Text),
    Column("progress", Json),
    Column("history", Json, nullable=False),
    CheckConstraint(
        "status IN ('pending', 'scheduled', 'processing', 'completed', 'failed',"
        " 'dead_letter', 'cancelled')",
        name="status",
    ),
)

Index("ix_tasks_unique_key", tasks.c.queue, tasks.c.unique_key, unique=True)
Index(
    "ix_tasks_ready",
    tasks.c.queue, tasks.c.status, tasks.c.priority.desc(), tasks.c.available_at, tasks.c.sequence,
)  # fmt: skip
Index("ix_tasks_due", tasks.c.queue, tasks.c.status, tasks.c.available_at)
Index("ix_tasks_lease", tasks.c.queue, tasks.c.lease_until)
Index("ix_tasks_expiry", tasks.c.queue, tasks.c.expires_at)

task_workers = Table(
    "task_workers",
    metadata,
    Column("worker_id", String(200), primary_key=True),
    Column("queue", String(64), nullable=False),
    Column("host", Text, nullable=False),
    Column("process_id", Integer, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("task_types", Json),
    Column("running", Json, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

task_pauses = Table(
    "task_pauses",
    metadata,
    Column("queue", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(200), primary_key=True),
    CheckConstraint("kind IN ('type', 'priority')", name="kind"),
)

task_limits = Table(
    "task_limits",
    metadata,
    Column("queue", String(64), primary_key=True),
    Column("task_type", String(200), primary_key=True),
    Column("concurrency", Integer),
    Column("starts", Integer),
    Column("span_seconds", Float),
)

task_starts = Table(
    "task_starts",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("queue", String(64), nullable=False),
    Column("task_type", String(200), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
)

Index("ix_task_starts_span", task_starts.c.queue, task_starts.c.task_type, task_starts.c.started_at)

signal_rules = Table(
    "signal_rules",
    metadata,
    Column("queue", String(64), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("rule", Json, nullable=False),
)

signals = Table(
    "signals",
    metadata,
    Column("signal_id", String(200), primary_key=True),
    Column("queue", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("payload", Text, nullable=False),
    Column("owner", Text),
    Column("status", String(16), nullable=False),
    Column("outcomes", Json, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    CheckConstraint("status IN ('received', 'routed', 'unrouted', 'failed')", name="status"),
)

Index("ix_signals_status", signals.c.queue, signals.c.status, signals.c.received_at)

schedules = Table(
    "schedules",
    metadata,
    Column("queue", String(64), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("schedule", Json, nullable=False),
    Column("next_at", UtcDateTime, nullable=False),
)
