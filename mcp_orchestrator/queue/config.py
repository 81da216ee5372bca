"""What can be set about a queue."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from mcp_orchestrator.queue.task import TaskStatus

_DAY = 86_400.0


class TaskQueueConfig(BaseModel):
    """Settings of one queue; every process that shares the queue should use the same.

    Attributes:
        redis_url: ``redis://``, ``rediss://``, ``unix://``, ``redis+cluster://`` or
            ``redis+sentinel://``; without it the queue lives in the SQL database.
        consumer_group: the queue's name; queues with different names share nothing.
        batch_size: the most tasks taken or settled in one round trip.
        lease_seconds: how long a silent worker keeps a task before another may take it.
        max_retries: attempts after the first, where a task does not say.
        task_timeout: the bound on one attempt where a task does not say, in seconds.
        max_payload_bytes: the longest payload, as JSON in UTF-8.
        max_result_bytes: the longest result, as JSON in UTF-8.
        max_length: the most tasks that may wait (pending and scheduled); None for no bound.
        retention_seconds: how long a finished task and its result are kept.
        dead_retention_seconds: how long a dead letter is kept.
        backoff_base_seconds: the wait after attempt n is at most this times 2**n …
        backoff_cap_seconds: … and never more than this.
        fair_share: one delivery in this many goes to the oldest waiting task of a lower
            priority, so that none starves; 0 for strict priority only.
        poll_seconds: how often an idle process looks into an SQL database that others write.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    redis_url: str | None = None
    consumer_group: str = Field(default="orchestrator", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    batch_size: int = Field(default=100, ge=1, le=1000)
    lease_seconds: float = Field(default=30.0, ge=0.2)
    max_retries: int = Field(default=3, ge=0)
    task_timeout: float | None = Field(default=None, gt=0)
    max_payload_bytes: int = Field(default=1024 * 1024, ge=2)
    max_result_bytes: int = Field(default=4 * 1024 * 1024, ge=2)
    max_length: int | None = Field(default=None, ge=1)
    retention_seconds: float = Field(default=7 * _DAY, gt=0)
    dead_retention_seconds: float = Field(default=30 * _DAY, gt=0)
    backoff_base_seconds: float = Field(default=1.0, gt=0)
    backoff_cap_seconds: float = Field(default=300.0, gt=0)
    fair_share: int = Field(default=20, ge=0)
    poll_seconds: float = Field(default=0.1, gt=0)

    def expiry(self, status: TaskStatus, now: datetime) -> datetime:
        """Return when a task that ends now in this way may be forgotten."""
        dead = status is TaskStatus.DEAD_LETTER
        kept = self.dead_retention_seconds if dead else self.retention_seconds
        return now + timedelta(seconds=kept)
