"""Tables of the model calls: ledger, shared limits, cached answers, the sampling mailbox."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from mcp_orchestrator.store.columns import Json, UtcDateTime
from mcp_orchestrator.store.schema.metadata import metadata

#: One row a model call, written before the call and settled after it. Money is in billionths of
#: its currency, because sums of integers are exact in every database. The reserved columns hold
#: what the call may cost at the most for as long as nobody knows better.
ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("provider", String(64), nullable=False),
    Column("model", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("owner", Text),
    Column("saga_id", String(64)),
    Column("outcome", String(16), nullable=False),
    Column("error_code", String(64)),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_billionths", BigInteger),
    Column("currency", String(3)),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("reserved_billionths", BigInteger, nullable=False),
    Column("latency_milliseconds", Integer),
    Column("request_id", Text),
    Index("ix_ledger_entries_saga_id_started_at", "saga_id", "started_at"),
    Index("ix_ledger_entries_owner_started_at", "owner", "started_at"),
    Index("ix_ledger_entries_started_at", "started_at"),
)

#: How often a provider may be asked by all processes together, as its answers have taught us.
provider_limits = Table(
    "provider_limits",
    metadata,
    Column("provider", String(64), primary_key=True),
    Column("allowed", Float, nullable=False),
    Column("bucket", Float, nullable=False),
    Column("refilled_at", UtcDateTime, nullable=False),
    Column("paused_until", UtcDateTime),
)

#: The calls under way, so that all processes together stay below what is allowed.
provider_slots = Table(
    "provider_slots",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("provider", String(64), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_provider_slots_provider_expires_at", "provider", "expires_at"),
)

#: Answers worth keeping, and the flights of those who are fetching one for everybody.
model_answers = Table(
    "model_answers",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("owner", Text),
    Column("flight", String(32), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("stored_at", UtcDateTime),
    Column("reply", Json),
    Column("failure", Json),
    Index("ix_model_answers_expires_at", "expires_at"),
    Index("ix_model_answers_stored_at", "stored_at"),
)

#: The mailbox of sampling: questions that wait for the client to hold a call open.
sampling_requests = Table(
    "sampling_requests",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("scope", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("request", Json, nullable=False),
    Column("posted_at", UtcDateTime, nullable=False),
    Column("claimed_until", UtcDateTime),
    Column("reply", Json),
    Column("declined", Text),
    Index("uq_sampling_requests_scope_subject", "scope", "subject", unique=True),
)
