"""Create the table of the sagas' registered definitions."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "saga_registrations",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.String(50), nullable=False),
        sa.Column("definition_hash", sa.String(64), nullable=False),
        sa.Column("registered_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_saga_registrations"),
    )


def downgrade() -> None:
    op.drop_table("saga_registrations")
