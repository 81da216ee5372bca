"""Create the tables of signal rules, signals and schedules."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import Json, UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "signal_rules",
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("rule", Json, nullable=False),
        sa.PrimaryKeyConstraint("queue", "name", name=op.f("pk_signal_rules")),
    )
    op.create_table(
        "signals",
        sa.Column("signal_id", sa.String(200), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("outcomes", Json, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("signal_id", name=op.f("pk_signals")),
        sa.CheckConstraint(
            "status IN ('received', 'routed', 'unrouted', 'failed')", name=op.f("ck_signals_status")
        ),
    )
    op.create_index("ix_signals_status", "signals", ["queue", "status", "received_at"])
    op.create_table(
        "schedules",
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("schedule", Json, nullable=False),
        sa.Column("next_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("queue", "name", name=op.f("pk_schedules")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("schedules")
    op.drop_index("ix_signals_status", "signals")
    op.drop_table("signals")
    op.drop_table("signal_rules")
