"""Create the tables of the runs."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SQLITE_TRIGGERS = {
    event: f"""
        CREATE TRIGGER sandbox_runs_no_{event} BEFORE {event.upper()} ON sandbox_runs
        BEGIN SELECT RAISE(ABORT, 'sandbox_runs is append-only'); END
    """
    for event in ("update", "delete")
}
_POSTGRESQL_FUNCTION = """
    CREATE FUNCTION sandbox_runs_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'sandbox_runs is append-only'; END $$
"""
_POSTGRESQL_TRIGGER = """
    CREATE TRIGGER sandbox_runs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON sandbox_runs
    FOR EACH STATEMENT EXECUTE FUNCTION sandbox_runs_append_only()
"""


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "sandbox_runs",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("files_hash", sa.String(64)),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("stdout", sa.LargeBinary(), nullable=False),
        sa.Column("stderr", sa.LargeBinary(), nullable=False),
        sa.Column("risk_score", sa.Integer(), nullable=False),
        sa.Column("risk_findings", Json, nullable=False),
        sa.Column("backend", sa.String(16), nullable=False),
        sa.Column("layers", Json, nullable=False),
        sa.Column("limits", Json, nullable=False),
        sa.Column("duration_seconds", sa.Float(), nullable=False),
        sa.Column("cpu_seconds", sa.Float()),
        sa.Column("peak_memory_bytes", sa.BigInteger()),
        sa.Column("owner", sa.String(255)),
        sa.Column("saga_id", sa.String(64)),
        sa.Column("task_id", sa.String(64)),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_sandbox_runs"),
    )
    op.create_index("ix_sandbox_runs_saga_id", "sandbox_runs", ["saga_id"])
    op.create_index("ix_sandbox_runs_owner_started_at", "sandbox_runs", ["owner", "started_at"])
    if op.get_bind().dialect.name == "sqlite":
        for statement in _SQLITE_TRIGGERS.values():
            op.execute(statement)
    else:
        op.execute(_POSTGRESQL_FUNCTION)
        op.execute(_POSTGRESQL_TRIGGER)


def downgrade() -> None:
    """Drop them."""
    op.drop_table("sandbox_runs")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION sandbox_runs_append_only()")
