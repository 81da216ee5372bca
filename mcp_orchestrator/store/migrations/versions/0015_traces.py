"""Remember the span in which a saga was started and a task was added."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TABLES = ("saga_checkpoints", "tasks")


def upgrade() -> None:
    """Add the columns."""
    for table in _TABLES:
        op.add_column(table, sa.Column("traceparent", sa.String(60)))


def downgrade() -> None:
    """Drop them."""
    for table in _TABLES:
        op.drop_column(table, "traceparent")
