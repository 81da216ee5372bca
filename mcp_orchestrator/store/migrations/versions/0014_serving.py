"""Create the tables of what servers behind one address share."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import Json, UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "server_keys",
        sa.Column("purpose", sa.String(50), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("purpose", name="pk_server_keys"),
    )
    op.create_table(
        "used_confirmations",
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("nonce", name="pk_used_confirmations"),
    )
    op.create_index("ix_used_confirmations_expires_at", "used_confirmations", ["expires_at"])
    op.create_table(
        "mcp_task_questions",
        sa.Column("task_id", sa.String(64), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("key", sa.String(300), nullable=False),
        sa.Column("question", Json, nullable=False),
        sa.Column("answer", Json),
        sa.PrimaryKeyConstraint("task_id", "round", "key", name="pk_mcp_task_questions"),
    )


def downgrade() -> None:
    op.drop_table("mcp_task_questions")
    op.drop_table("used_confirmations")
    op.drop_table("server_keys")
