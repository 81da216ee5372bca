"""Tools of schedules: tasks that the clock adds."""

from datetime import UTC, datetime
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Elicit, Resolve
from pydantic import BaseModel, Field, JsonValue

from mcp_orchestrator.queue import PriorityName, Schedule
from mcp_orchestrator.server.confirming import Confirmation, Consent, consent
from mcp_orchestrator.server.hints import READS, REPLACES
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.teaching import teaching
from mcp_orchestrator.server.waiting import ToolContext

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

    async def loses(name: str, tail: str) -> str | None:
        """Say which schedule would be no more; None where there is none of that name."""
        for schedule, next_at in await runtime.schedules.list_schedules():
            if schedule.name == name:
                fires = f"{schedule.task_type} at {schedule.cron}, next {next_at:%Y-%m-%d %H:%M}"
                return f"The schedule {name!r} ({fires}) {tail}."
        return None

    @teaching
    async def agree_to_replace(
        name: str,
        cron: str,
        task_type: str,
        payload: dict[str, JsonValue],
        priority: str,
        timezone: str,
        confirmation: str | None,
        context: ToolContext,
    ) -> Elicit[Consent] | Consent:
        arguments: dict[str, JsonValue] = {
            "name": name, "cron": cron, "task_type": task_type, "payload": payload,
            "priority": priority, "timezone": timezone,
        }  # fmt: skip
        effect = await loses(name, f"would be replaced by {task_type} at {cron}")
        return await consent(
            runtime, context, "schedule_add", arguments, effect=effect, confirmation=confirmation
        )

    @teaching
    async def agree_to_remove(
        name: str, confirmation: str | None, context: ToolContext
    ) -> Elicit[Consent] | Consent:
        effect = await loses(name, "would be removed")
        return await consent(
            runtime, context, "schedule_remove", {"name": name},
            effect=effect, confirmation=confirmation,
        )  # fmt: skip

    @server.tool(title="Run a task by the clock", annotations=REPLACES)
    @teaching
    async def schedule_add(
        name: Name,
        cron: Annotated[str, Field(description="As in crontab, such as `0 6 * * 1-5`.")],
        task_type: Annotated[str, Field(description="As for queue_add_task.")],
        agreed: Annotated[Consent, Resolve(agree_to_replace)],
        payload: Annotated[
            dict[str, JsonValue], Field(description="The handler's arguments, as JSON.")
        ] = {},  # noqa: B006 - read only, and the schema shows the default
        priority: PriorityName = "NORMAL",
        timezone: Annotated[str, Field(description="Whose clock the fields mean.")] = "UTC",
        confirmation: Confirmation = None,
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

    @server.tool(title="Remove a schedule", annotations=REPLACES)
    @teaching
    async def schedule_remove(
        name: Name,
        agreed: Annotated[Consent, Resolve(agree_to_remove)],
        confirmation: Confirmation = None,
    ) -> ScheduleList:
        """Remove a schedule and return those that are left; tasks it has added stay."""
        await runtime.schedules.remove(name)
        return await _all(runtime)
