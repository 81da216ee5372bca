"""Tools of schedules: tasks that the clock adds."""

from datetime import UTC, datetime
from typing import Annotated

from mcp.server import MCPServer
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.queue import PriorityName, Schedule
from mcp_orchestrator.server.hints import READS, REPLACES
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching

Name = Annotated[str, Field(min_length=1, max_length=200, description="Of the schedule.")]


class ScheduleLine(BaseModel):
    """One schedule and when it fires next."""

    name: str
    cron: str
    timezone: str
    task_type: str
    priority: str
    next_at: datetime


class ScheduleList(BaseModel):
    """Every schedule, the next to fire first."""

    schedules: list[ScheduleLine]


def view_schedule(schedule: Schedule, next_at: datetime) -> ScheduleLine:
    """Show a schedule to a client."""
    return ScheduleLine(
        name=schedule.name,
        cron=schedule.cron,
        timezone=schedule.timezone,
        task_type=schedule.task_type,
        priority=schedule.priority,
        next_at=next_at.astimezone(UTC),
    )


async def _all(runtime: Workspace) -> ScheduleList:
    found = await runtime.schedules.list_schedules()
    return ScheduleList(schedules=[view_schedule(*one) for one in found])


def register(server: MCPServer[None], runtime: Workspace) -> None:
    """Add the tools to a server."""
    changes = REPLACES

    @server.tool(title="Run a task by the clock", annotations=changes)
    @teaching
    async def schedule_add(
        name: Name,
        cron: Annotated[str, Field(description="As in crontab, such as `0 6 * * 1-5`.")],
        task_type: Annotated[str, Field(description="As for queue_add_task.")],
        payload: Annotated[
            dict[str, JsonValue], Field(description="The handler's arguments, as JSON.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        priority: PriorityName = "NORMAL",
        timezone: Annotated[str, Field(description="Whose clock the fields mean.")] = "UTC",
    ) -> ScheduleLine:
        """Add a schedule, or replace the one of its name; each firing is one queued task."""
        runtime.registry.check_task(task_type, payload)
        schedule = Schedule(
            name=name, cron=cron, task_type=task_type, payload=payload, priority=priority,
            timezone=timezone,
        )  # fmt: skip
        return view_schedule(schedule, await runtime.schedules.add(schedule))

    @server.tool(title="List schedules", annotations=READS)
    @teaching
    async def schedule_list() -> ScheduleList:
        """List every schedule, the next to fire first."""
        return await _all(runtime)

    @server.tool(title="Remove a schedule", annotations=changes)
    @teaching
    async def schedule_remove(name: Name) -> ScheduleList:
        """Remove a schedule and return those that are left; tasks it has added stay."""
        await runtime.schedules.remove(name)
        return await _all(runtime)
