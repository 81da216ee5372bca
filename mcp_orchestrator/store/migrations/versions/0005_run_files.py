"""Keep the files of the runs, chain the runs by hash, and name their sessions."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import Json, UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INDEX = "ux_sandbox_runs_chain_id_sequence"


def upgrade() -> None:
    """Add them; runs from before belong to no chain."""
    for column in (
        sa.Column("session_id", sa.String(64)),
        sa.Column("artifacts", Json),
        sa.Column("chain_id", sa.String(64)),
        sa.Column("sequence", sa.BigInteger()),
        sa.Column("hash", sa.String(64)),
    ):
        op.add_column("sandbox_runs", column)
    op.create_index(_INDEX, "sandbox_runs", ["chain_id", "sequence"], unique=True)
    op.create_table(
        "sandbox_run_chains",
        sa.Column("chain_id", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name="pk_sandbox_run_chains"),
    )
    op.create_table(
        "sandbox_run_files",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "kind", "path", name="pk_sandbox_run_files"),
    )
    op.create_index("ix_sandbox_run_files_created_at", "sandbox_run_files", ["created_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("sandbox_run_files")
    op.drop_table("sandbox_run_chains")
    op.drop_index(_INDEX, "sandbox_runs")
    for name in ("hash", "sequence", "chain_id", "artifacts", "session_id"):
        op.drop_column("sandbox_runs", name)
