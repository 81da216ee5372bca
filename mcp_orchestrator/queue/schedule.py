"""Schedules: tasks by cron. Each firing is one task, however many processes watch.

The task's idempotency key is the schedule and the moment, so a second watcher (or the same one
after a crash) gets the first one's task. After a pause in which nobody watched, a schedule fires
once, not once for each moment that was missed.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import Connection, delete, insert, select, update

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.errors import InvalidInputError, NotFoundError
from mcp_orchestrator.queue.encoding import encode_json
from mcp_orchestrator.queue.task import PriorityName, TaskPriority
from mcp_orchestrator.queue.task_queue import TaskQueue
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.tasks import schedules

#: How often due schedules are looked for, in seconds.
_LOOK = 1.0


class Schedule(BaseModel):
    """When to add which task.

    Attributes:
        name: a schedule of the same name is replaced.
        cron: five fields (minute, hour, day, month, weekday), six with seconds first, as cron(8).
        timezone: whose clock the fields mean; daylight saving is followed as cron does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    cron: str
    task_type: str
    payload: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    priority: PriorityName = "NORMAL"
    timezone: str = "UTC"

    def next_after(self, moment: datetime) -> datetime:
        """Return when it fires next.

        Raises:
            InvalidInputError: the expression or the time zone is wrong, or it never fires.
        """
        try:
            return next(CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone))))
        except (CronSimError, StopIteration) as error:
            raise InvalidInputError(
                f"{self.cron!r} is not a schedule: {error}.",
                remedy="Use minute, hour, day of month, month, day of week, such as '0 6 * * 1-5'.",
            ) from error
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise InvalidInputError(f"{self.timezone!r} is not a time zone.") from error


class Scheduler:
    """Adds the tasks of schedules when they are due. Schedules live in the SQL database.

    Args:
        queue: where tasks go, on whatever back end.
        database: where schedules are kept; migrated.
        committer: the process's writer.
        clock: the source of time.
    """

    def __init__(
        self,
        queue: TaskQueue,
        database: Database,
        committer: GroupCommitter,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._queue = queue
        self._name = queue.config.consumer_group
        self._database = database
        self._committer = committer
        self._clock: Clock = clock or SystemClock()

    async def add(self, schedule: Schedule) -> datetime:
        """Add a schedule, or replace the one of its name; return when it fires first."""
        encode_json(schedule.payload, what="payload", limit=self._queue.config.max_payload_bytes)
        first = schedule.next_after(self._clock.now())

        def write(connection: Connection) -> None:
            self._drop(connection, schedule.name)
            row = {
                "queue": self._name,
                "name": schedule.name,
                "schedule": json.loads(schedule.model_dump_json()),
                "next_at": first,
            }
            connection.execute(insert(schedules), row)

        await self._committer.submit(write)
        return first

    async def remove(self, name: str) -> None:
        """Remove a schedule; tasks that it has added stay.

        Raises:
            NotFoundError: there is no such schedule.
        """
        if not await self._committer.submit(lambda connection: self._drop(connection, name)):
            raise NotFoundError(f"There is no schedule {name[:80]!r}.")

    async def list_schedules(self) -> list[tuple[Schedule, datetime]]:
        """Return every schedule and when it fires next, the next one first."""
        found = (
            select(schedules.c.schedule, schedules.c.next_at)
            .where(schedules.c.queue == self._name)
            .order_by(schedules.c.next_at, schedules.c.name)
        )
        async with self._database.read() as connection:
            rows: Sequence[tuple[object, datetime]] = [
                (row[0], row[1]) for row in await connection.execute(found)
            ]
        return [(Schedule.model_validate(data), next_at) for data, next_at in rows]

    async def fire_due(self) -> int:
        """Add the tasks of the schedules that are due; return how many schedules those were."""
        now = self._clock.now()
        due = [one for one in await self.list_schedules() if one[1] <= now]
        for schedule, moment in due:
            await self._queue.add_task(
                schedule.task_type,
                schedule.payload,
                priority=TaskPriority[schedule.priority],
                idempotency_key=f"schedule:{schedule.name}:{moment.isoformat()}",
            )
            after = schedule.next_after(now)
            statement = (
                update(schedules)
                .where(
                    schedules.c.queue == self._name,
                    schedules.c.name == schedule.name,
                    schedules.c.next_at == moment,
                )
                .values(next_at=after)
            )
            await self._committer.submit(
                lambda connection, statement=statement: connection.execute(statement)
            )
        return len(due)

    async def run(self) -> None:
        """Fire schedules as they come due, until cancelled."""
        while True:
            await self.fire_due()
            await self._clock.sleep(_LOOK)

    def _drop(self, connection: Connection, name: str) -> bool:
        where = (schedules.c.queue == self._name, schedules.c.name == name)
        return (connection.execute(delete(schedules).where(*where))).rowcount > 0
