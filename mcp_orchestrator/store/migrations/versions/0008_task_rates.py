"""Let the limits of task types bound how many start in a span of time."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the rate to the limits, and a line for each start of a type that has one."""
    with op.batch_alter_table("task_limits") as limits:
        limits.alter_column("concurrency", existing_type=sa.Integer, nullable=True)
        limits.add_column(sa.Column("starts", sa.Integer))
        limits.add_column(sa.Column("span_seconds", sa.Float))
    op.create_table(
        "task_starts",
        sa.Column("task_id", sa.String(64), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("task_type", sa.String(200), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "epoch", name=op.f("pk_task_starts")),
    )
    op.create_index("ix_task_starts_span", "task_starts", ["queue", "task_type", "started_at"])


def downgrade() -> None:
    """Drop both; a type that had only a rate is limited no more."""
    op.drop_index("ix_task_starts_span", "task_starts")
    op.drop_table("task_starts")
    op.execute("DELETE FROM task_limits WHERE concurrency IS NULL")
    with op.batch_alter_table("task_limits") as limits:
        limits.drop_column("span_seconds")
        limits.drop_column("starts")
        limits.alter_column("concurrency", existing_type=sa.Integer, nullable=False)
