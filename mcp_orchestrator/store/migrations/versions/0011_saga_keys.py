"""Create the table of the sagas' data keys."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "saga_keys",
        sa.Column("saga_id", sa.String(64), nullable=False),
        sa.Column("wrapped_key", sa.Text),
        sa.Column("master_key_id", sa.String(200), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("erased_at", UtcDateTime),
        sa.CheckConstraint(
            "(wrapped_key IS NULL) = (erased_at IS NOT NULL)", name=op.f("ck_saga_keys_erased")
        ),
        sa.PrimaryKeyConstraint("saga_id", name="pk_saga_keys"),
    )


def downgrade() -> None:
    op.drop_table("saga_keys")
