"""Create the tables of the tasks."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import Json, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "tasks",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("task_id", sa.String(64), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("task_type", sa.String(200), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("max_retries", sa.Integer, nullable=False),
        sa.Column("timeout", sa.Float),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("unique_key", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("preemptible", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("available_at", UtcDateTime, nullable=False),
        sa.Column("started_at", UtcDateTime),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("expires_at", UtcDateTime),
        sa.Column("worker_id", sa.String(200)),
        sa.Column("lease_until", UtcDateTime),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("progress", Json),
        sa.Column("history", Json, nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'scheduled', 'processing', 'completed', 'failed',"
            " 'dead_letter', 'cancelled')",
            name=op.f("ck_tasks_status"),
        ),
        sa.UniqueConstraint("task_id", name=op.f("uq_tasks_task_id")),
    )
    op.create_index("ix_tasks_unique_key", "tasks", ["queue", "unique_key"], unique=True)
    op.create_index(
        "ix_tasks_ready",
        "tasks",
        ["queue", "status", sa.text("priority DESC"), "available_at", "sequence"],
    )
    op.create_index("ix_tasks_due", "tasks", ["queue", "status", "available_at"])
    op.create_index("ix_tasks_lease", "tasks", ["queue", "lease_until"])
    op.create_index("ix_tasks_expiry", "tasks", ["queue", "expires_at"])
    op.create_table(
        "task_workers",
        sa.Column("worker_id", sa.String(200), primary_key=True),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("process_id", sa.Integer, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("task_types", Json),
        sa.Column("running", Json, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "task_pauses",
        sa.Column("queue", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.CheckConstraint("kind IN ('type', 'priority')", name=op.f("ck_task_pauses_kind")),
    )
    op.create_table(
        "task_limits",
        sa.Column("queue", sa.String(64), primary_key=True),
        sa.Column("task_type", sa.String(200), primary_key=True),
        sa.Column("concurrency", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("task_limits")
    op.drop_table("task_pauses")
    op.drop_table("task_workers")
    op.drop_table("tasks")
