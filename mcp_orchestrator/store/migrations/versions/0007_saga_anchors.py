"""Create the signed anchors of the sagas' audit log, append-only as the log is."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "saga_anchors",
        sa.Column("first_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("last_id", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("signature", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("first_id", name="pk_saga_anchors"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER saga_anchors_no_{verb.lower()} BEFORE {verb} ON saga_anchors "
                "BEGIN SELECT RAISE(ABORT, 'saga_anchors is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION saga_anchors_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'saga_anchors is append-only'; END $$"
    )
    for event, each in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER saga_anchors_no_{event.split()[0].lower()} BEFORE {event} "
            f"ON saga_anchors FOR EACH {each} EXECUTE FUNCTION saga_anchors_refuse()"
        )


def downgrade() -> None:
    op.drop_table("saga_anchors")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION saga_anchors_refuse()")
