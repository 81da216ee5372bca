"""Let a saga that a person has rewound go forward again after compensating."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

#: What a saga's state may become, as "before>after"; anything else is refused by trigger.
_TRANSITIONS = (
    "'idle>running', 'idle>aborted', 'running>completed', 'running>compensating', "
    "'running>failed', 'running>aborted', 'compensating>failed', 'compensating>aborted', "
    "'completed>running', 'completed>compensating', 'failed>running', 'failed>compensating', "
    "'aborted>running', 'aborted>compensating'"
)


def upgrade() -> None:
    _guard(f"{_TRANSITIONS}, 'compensating>running'")


def downgrade() -> None:
    _guard(_TRANSITIONS)


def _guard(transitions: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER saga_checkpoints_guard")
        op.execute(
            "CREATE TRIGGER saga_checkpoints_guard BEFORE UPDATE OF state ON saga_checkpoints "
            "WHEN OLD.state <> NEW.state "
            f"AND (OLD.state || '>' || NEW.state) NOT IN ({transitions}) "
            "BEGIN SELECT RAISE(ABORT, 'saga state transition is not in the table'); END"
        )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION saga_checkpoints_guard() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN IF (OLD.state || '>' || NEW.state) NOT IN ({transitions}) THEN "
        "RAISE EXCEPTION 'saga state transition is not in the table'; END IF; "
        "RETURN NEW; END $$"
    )
