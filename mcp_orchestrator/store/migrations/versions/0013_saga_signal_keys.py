"""Remember which keyed signals a saga has been sent, so that each is sent once."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "saga_signal_keys",
        sa.Column("saga_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("saga_id", "key", name=op.f("pk_saga_signal_keys")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("saga_signal_keys")
