"""Create the tables of the model calls: ledger, limits, answers, the sampling mailbox."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import Json, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("saga_id", sa.String(64)),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_billionths", sa.BigInteger),
        sa.Column("currency", sa.String(3)),
        sa.Column("reserved_tokens", sa.BigInteger, nullable=False),
        sa.Column("reserved_billionths", sa.BigInteger, nullable=False),
        sa.Column("latency_milliseconds", sa.Integer),
        sa.Column("request_id", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_entries"),
    )
    for columns in (["saga_id", "started_at"], ["owner", "started_at"], ["started_at"]):
        op.create_index(f"ix_ledger_entries_{'_'.join(columns)}", "ledger_entries", columns)
    _create_limits_and_answers()
    op.create_table(
        "sampling_requests",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("scope", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("request", Json, nullable=False),
        sa.Column("posted_at", UtcDateTime, nullable=False),
        sa.Column("claimed_until", UtcDateTime),
        sa.Column("reply", Json),
        sa.Column("declined", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_sampling_requests"),
    )
    op.create_index(
        "uq_sampling_requests_scope_subject", "sampling_requests", ["scope", "subject"], unique=True
    )


def _create_limits_and_answers() -> None:
    op.create_table(
        "provider_limits",
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("allowed", sa.Float, nullable=False),
        sa.Column("bucket", sa.Float, nullable=False),
        sa.Column("refilled_at", UtcDateTime, nullable=False),
        sa.Column("paused_until", UtcDateTime),
        sa.PrimaryKeyConstraint("provider", name="pk_provider_limits"),
    )
    op.create_table(
        "provider_slots",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_provider_slots"),
    )
    op.create_index(
        "ix_provider_slots_provider_expires_at", "provider_slots", ["provider", "expires_at"]
    )
    op.create_table(
        "model_answers",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("flight", sa.String(32), nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("stored_at", UtcDateTime),
        sa.Column("reply", Json),
        sa.Column("failure", Json),
        sa.PrimaryKeyConstraint("key", name="pk_model_answers"),
    )
    for column in ("expires_at", "stored_at"):
        op.create_index(f"ix_model_answers_{column}", "model_answers", [column])


def downgrade() -> None:
    """Drop them."""
    for table in ("sampling_requests", "model_answers", "provider_slots", "provider_limits"):
        op.drop_table(table)
    op.drop_table("ledger_entries")
