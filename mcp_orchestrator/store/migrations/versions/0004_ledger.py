"""Create the tables of the ledger and of the sampling mailbox."""

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
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("purpose", sa.String(128), nullable=False),
        sa.Column("owner", sa.String(256)),
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
        sa.Column("request_id", sa.String(256)),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_entries"),
    )
    for columns in (["saga_id", "started_at"], ["owner", "started_at"], ["started_at"]):
        op.create_index(f"ix_ledger_entries_{'_'.join(columns)}", "ledger_entries", columns)
    op.create_table(
        "sampling_requests",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("scope", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(160), nullable=False),
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


def downgrade() -> None:
    """Drop them."""
    op.drop_table("sampling_requests")
    op.drop_table("ledger_entries")
