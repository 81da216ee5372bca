"""Create the tables of the sagas, the guard of their states and the lock on their audit log."""

import sqlalchemy as sa
from alembic import op

from mcp_orchestrator.store.columns import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_OPEN = sa.text("finished_at IS NULL")

#: What a saga's state may become, as "before>after"; anything else is refused by trigger.
_TRANSITIONS = (
    "'idle>running', 'idle>aborted', 'running>completed', 'running>compensating', "
    "'running>failed', 'running>aborted', 'compensating>failed', 'compensating>aborted', "
    "'completed>running', 'completed>compensating', 'failed>running', 'failed>compensating', "
    "'aborted>running', 'aborted>compensating'"
)


def upgrade() -> None:
    op.create_table(
        "saga_definitions",
        sa.Column("definition_hash", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.String(50), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("definition_hash", name="pk_saga_definitions"),
    )
    op.create_table(
        "saga_runners",
        sa.Column("runner_id", sa.String(200), nullable=False),
        sa.Column("lease_until", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("runner_id", name="pk_saga_runners"),
    )
    _create_checkpoints()
    _create_audit_logs()
    op.create_table(
        "saga_memos",
        sa.Column("saga_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("recorded_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("saga_id", "name", name="pk_saga_memos"),
    )
    op.create_table(
        "saga_inbox",
        _serial(),
        sa.Column("saga_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("user_id", sa.String(200)),
        sa.Column("sent_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("kind IN ('abort', 'signal')", name=op.f("ck_saga_inbox_kind")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_saga_inbox_saga_id", "saga_inbox", ["saga_id"])
    if op.get_bind().dialect.name == "sqlite":
        _guard_on_sqlite()
    else:
        _guard_on_postgresql()


def downgrade() -> None:
    for table in (
        "saga_inbox", "saga_memos", "saga_audit_logs", "saga_checkpoints", "saga_runners",
        "saga_definitions",
    ):  # fmt: skip
        op.drop_table(table)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION saga_audit_logs_refuse()")
        op.execute("DROP FUNCTION saga_checkpoints_guard()")


def _serial() -> "sa.Column[int]":
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", kind, primary_key=True, autoincrement=True)


def _create_checkpoints() -> None:
    op.create_table(
        "saga_checkpoints",
        sa.Column("saga_id", sa.String(64), nullable=False),
        sa.Column("saga_type", sa.String(200), nullable=False),
        sa.Column("version", sa.String(50), nullable=False),
        sa.Column("definition_hash", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("goal", sa.String(16), nullable=False),
        sa.Column("current_step_index", sa.Integer, nullable=False),
        sa.Column("total_steps", sa.Integer, nullable=False),
        sa.Column("steps", sa.Text, nullable=False),
        sa.Column("completed_steps", sa.Text, nullable=False),
        sa.Column("compensated_steps", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("needs_person", sa.Text, nullable=False),
        sa.Column("held_reason", sa.Text),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("user_id", sa.String(200)),
        sa.Column("ip_address", sa.String(64)),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("parent_saga_id", sa.String(64)),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("wake_at", UtcDateTime),
        sa.Column("lease_owner", sa.String(200)),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("takeovers", sa.Integer, nullable=False),
        sa.Column("audit_sequence", sa.Integer, nullable=False),
        sa.Column("audit_hash", sa.String(64), nullable=False),
        sa.CheckConstraint(
            "state IN ('idle', 'running', 'completed', 'compensating', 'failed', 'aborted')",
            name=op.f("ck_saga_checkpoints_state"),
        ),
        sa.CheckConstraint(
            "goal IN ('completed', 'failed', 'aborted')", name=op.f("ck_saga_checkpoints_goal")
        ),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'aborted'))",
            name=op.f("ck_saga_checkpoints_finished"),
        ),
        sa.PrimaryKeyConstraint("saga_id", name="pk_saga_checkpoints"),
    )
    op.create_index("ix_saga_checkpoints_state", "saga_checkpoints", ["state"])
    op.create_index("ix_saga_checkpoints_updated_at", "saga_checkpoints", ["updated_at"])
    op.create_index(
        "ix_saga_checkpoints_open", "saga_checkpoints", ["lease_owner"],
        sqlite_where=_OPEN, postgresql_where=_OPEN,
    )  # fmt: skip
    op.create_index(
        "uq_saga_checkpoints_idempotency", "saga_checkpoints",
        [sa.text("coalesce(user_id, '')"), "idempotency_key"], unique=True,
    )  # fmt: skip


def _create_audit_logs() -> None:
    op.create_table(
        "saga_audit_logs",
        _serial(),
        sa.Column("saga_id", sa.String(64), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("event_type", sa.String(50), nullable=False),
        sa.Column("step_name", sa.String(200)),
        sa.Column("step_index", sa.Integer),
        sa.Column("event_data", sa.Text, nullable=False),
        sa.Column("context_snapshot", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("error_stack_trace", sa.Text),
        sa.Column("timestamp", UtcDateTime, nullable=False),
        sa.Column("duration_ms", sa.Float),
        sa.Column("user_id", sa.String(200)),
        sa.Column("ip_address", sa.String(64)),
        sa.Column("saga_state_before", sa.String(16), nullable=False),
        sa.Column("saga_state_after", sa.String(16), nullable=False),
        sa.Column("retry_count", sa.Integer, nullable=False),
        sa.Column("runner_id", sa.String(200), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.UniqueConstraint("saga_id", "sequence", name="uq_saga_audit_logs_saga_id_sequence"),
        sqlite_autoincrement=True,
    )
    for columns in (
        ["saga_id", "timestamp"], ["event_type", "timestamp"], ["user_id", "timestamp"],
        ["step_name"], ["timestamp"],
    ):  # fmt: skip
        op.create_index(f"ix_saga_audit_logs_{'_'.join(columns)}", "saga_audit_logs", columns)


def _guard_on_sqlite() -> None:
    op.execute(
        "CREATE TRIGGER saga_checkpoints_guard BEFORE UPDATE OF state ON saga_checkpoints "
        "WHEN OLD.state <> NEW.state "
        f"AND (OLD.state || '>' || NEW.state) NOT IN ({_TRANSITIONS}) "
        "BEGIN SELECT RAISE(ABORT, 'saga state transition is not in the table'); END"
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER saga_audit_logs_no_{verb.lower()} BEFORE {verb} ON saga_audit_logs "
            "BEGIN SELECT RAISE(ABORT, 'saga_audit_logs is append-only'); END"
        )


def _guard_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION saga_checkpoints_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF (OLD.state || '>' || NEW.state) NOT IN ({_TRANSITIONS}) THEN "
        "RAISE EXCEPTION 'saga state transition is not in the table'; END IF; "
        "RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER saga_checkpoints_guard BEFORE UPDATE OF state ON saga_checkpoints "
        "FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION saga_checkpoints_guard()"
    )
    op.execute(
        "CREATE FUNCTION saga_audit_logs_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'saga_audit_logs is append-only'; END $$"
    )
    for event, each in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER saga_audit_logs_no_{event.split()[0].lower()} BEFORE {event} "
            f"ON saga_audit_logs FOR EACH {each} EXECUTE FUNCTION saga_audit_logs_refuse()"
        )
