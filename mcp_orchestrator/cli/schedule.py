"""`mcp-orchestrator schedule …` and `signal …`: what the clock starts, and what signals start."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel, JsonValue, ValidationError

from mcp_orchestrator.cli.running import DataDir, run_until_done, settings_from
from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue import Schedule, SignalRule
from mcp_orchestrator.runtime import Runtime, open_runtime

M = TypeVar("M", bound=BaseModel)

schedule_app = typer.Typer(help="Tasks by cron.", no_args_is_help=True)
signal_app = typer.Typer(help="Signals, and the rules for them.", no_args_is_help=True)


@schedule_app.command("list")
def list_schedules(data_dir: DataDir = None) -> None:
    """List the schedules, the next to fire first."""

    async def work(runtime: Runtime) -> None:
        for schedule, next_at in await runtime.schedules.list_schedules():
            typer.echo(
                f"{next_at.isoformat(timespec='seconds')}  {schedule.name}  {schedule.cron}"
                f" ({schedule.timezone})  {schedule.task_type}"
            )

    _with_runtime(work, data_dir)


@schedule_app.command("add")
def add_schedule(
    name: str,
    cron: Annotated[str, typer.Argument(help="Such as '0 6 * * 1-5'.")],
    task_type: str,
    *,
    payload: Annotated[str, typer.Option(help="The task's payload, as JSON.")] = "{}",
    timezone: Annotated[str, typer.Option(help="Whose clock the fields mean.")] = "UTC",
    data_dir: DataDir = None,
) -> None:
    """Add a schedule, or replace the one of its name."""

    async def work(runtime: Runtime) -> None:
        data = {
            "name": name, "cron": cron, "task_type": task_type,
            "payload": _json(payload), "timezone": timezone,
        }  # fmt: skip
        first = await runtime.schedules.add(_validated(Schedule, data))
        typer.echo(f"{name} fires first at {first.isoformat(timespec='seconds')}")

    _with_runtime(work, data_dir)


@schedule_app.command("remove")
def remove_schedule(name: str, data_dir: DataDir = None) -> None:
    """Remove a schedule; tasks that it has added stay."""
    _with_runtime(lambda runtime: runtime.schedules.remove(name), data_dir)


@signal_app.command("rules")
def list_rules(data_dir: DataDir = None) -> None:
    """Print every rule as one line of JSON."""

    async def work(runtime: Runtime) -> None:
        for rule in await runtime.signals.list_rules():
            typer.echo(rule.model_dump_json())

    _with_runtime(work, data_dir)


@signal_app.command("add-rule")
def add_rule(
    file: Annotated[Path, typer.Argument(help="A rule as JSON; - reads from stdin.")],
    data_dir: DataDir = None,
) -> None:
    """Add a rule, or replace the one of its name."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    rule = _validated(SignalRule, _json(text))
    _with_runtime(lambda runtime: runtime.signals.add_rule(rule), data_dir)


@signal_app.command("remove-rule")
def remove_rule(name: str, data_dir: DataDir = None) -> None:
    """Remove a rule."""
    _with_runtime(lambda runtime: runtime.signals.remove_rule(name), data_dir)


@signal_app.command("publish")
def publish(
    name: str,
    payload: Annotated[str, typer.Argument(help="JSON.")] = "{}",
    *,
    signal_id: Annotated[str | None, typer.Option("--id", help="Routed once for each id.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Say that something happened."""

    async def work(runtime: Runtime) -> None:
        given = _json(payload)
        if not isinstance(given, dict):
            raise InvalidInputError("The payload must be a JSON object.")
        signal = await runtime.signals.publish(name, given, signal_id=signal_id)
        typer.echo(f"{signal.signal_id}: {signal.status.value}")
        for outcome in signal.outcomes:
            typer.echo(f"  {outcome.rule}: {outcome.kind} {outcome.id or outcome.error}")

    _with_runtime(work, data_dir)


@signal_app.command("unrouted")
def list_unrouted(data_dir: DataDir = None) -> None:
    """List the signals that no rule wanted, or that could not start everything."""

    async def work(runtime: Runtime) -> None:
        for signal in await runtime.signals.list_unrouted():
            typer.echo(f"{signal.signal_id}  {signal.status.value}  {signal.name}")

    _with_runtime(work, data_dir)


@signal_app.command("route")
def route(signal_id: str, data_dir: DataDir = None) -> None:
    """Apply the present rules to a signal that was kept."""

    async def work(runtime: Runtime) -> None:
        signal = await runtime.signals.route_again(signal_id)
        typer.echo(f"{signal.signal_id}: {signal.status.value}")

    _with_runtime(work, data_dir)


def _with_runtime(work: Callable[[Runtime], Awaitable[None]], data_dir: Path | None) -> None:
    settings = settings_from(log_level="WARNING", data_dir=data_dir)

    async def run() -> None:
        async with open_runtime(settings, background=False) as runtime:
            await work(runtime)

    run_until_done(run)


def _json(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"This is not JSON: {error}.") from error
    return value


def _validated(model: type[M], data: object) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"{where}: {first['msg']}.") from error
