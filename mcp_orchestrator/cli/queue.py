"""`mcp-orchestrator queue …`: looking into the queue and putting it right."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from mcp_orchestrator.cli.queue_tables import stats_table, task_details, task_table
from mcp_orchestrator.cli.running import DataDir, run_until_done, settings_from
from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue import Rate, TaskFilter, TaskPriority, TaskQueue, TaskStatus
from mcp_orchestrator.runtime import open_queue

app = typer.Typer(help="Look into the task queue and put it right.", no_args_is_help=True)

Watch = Annotated[bool, typer.Option("--watch", help="Keep showing it until Ctrl-C.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only tasks of this type.")]
#: How often a watched table is drawn anew, in seconds.
_REDRAW = 1.0


@app.command()
def stats(watch: Watch = False, data_dir: DataDir = None) -> None:
    """Show depth and age by priority, counts by status, and the workers."""

    async def draw(queue: TaskQueue) -> Table:
        return stats_table(await queue.stats())

    _with_queue(lambda queue: _show(queue, draw, watch=watch), data_dir=data_dir)


@app.command("list")
def list_tasks(
    status: Annotated[TaskStatus | None, typer.Option(help="Only these.")] = None,
    task_type: TypeOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    watch: Watch = False,
    data_dir: DataDir = None,
) -> None:
    """List tasks, newest first."""

    async def draw(queue: TaskQueue) -> Table:
        wanted = TaskFilter(status=status, task_type=task_type, limit=limit)
        return task_table(await queue.list_tasks(wanted))

    _with_queue(lambda queue: _show(queue, draw, watch=watch), data_dir=data_dir)


@app.command()
def show(task_id: str, data_dir: DataDir = None) -> None:
    """Show one task with its payload, result, error and history."""

    async def work(queue: TaskQueue) -> None:
        Console().print(task_details(await queue.get_task(task_id)))

    _with_queue(work, data_dir=data_dir)


@app.command()
def cancel(task_id: str, data_dir: DataDir = None) -> None:
    """Cancel a waiting or running task."""

    async def work(queue: TaskQueue) -> None:
        task = await queue.cancel_task(task_id)
        typer.echo(f"{task.task_id}: {task.status.value}")

    _with_queue(work, data_dir=data_dir)


@app.command()
def retry(
    task_id: Annotated[str | None, typer.Argument(help="One dead letter.")] = None,
    task_type: TypeOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Give dead letters all their attempts again."""
    if (task_id is not None) + (task_type is not None) + every != 1:
        raise InvalidInputError("Give a task id, or --type, or --all.")

    async def work(queue: TaskQueue) -> None:
        if task_id is not None:
            await queue.dead_letters.retry(task_id)
            count = 1
        else:
            count = await queue.dead_letters.retry_all(task_type)
        typer.echo(f"{count} {'task' if count == 1 else 'tasks'} will be tried again")

    _with_queue(work, data_dir=data_dir)


@app.command()
def purge(
    task_type: TypeOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Forget dead letters for ever."""
    if not yes:
        typer.confirm(f"Forget {task_type or 'all'} dead letters for ever?", abort=True)

    async def work(queue: TaskQueue) -> None:
        typer.echo(f"{await queue.dead_letters.purge(task_type)} dead letters forgotten")

    _with_queue(work, data_dir=data_dir)


@app.command()
def pause(what: str, data_dir: DataDir = None) -> None:
    """Hand out no more tasks of a type, or of a priority (CRITICAL, HIGH, NORMAL, LOW)."""
    _with_queue(lambda queue: queue.pause(_type_or_priority(what)), data_dir=data_dir)


@app.command()
def resume(what: str, data_dir: DataDir = None) -> None:
    """Hand out tasks of a type or of a priority again."""
    _with_queue(lambda queue: queue.resume(_type_or_priority(what)), data_dir=data_dir)


@app.command()
def limit(
    task_type: str,
    *,
    concurrency: Annotated[int | None, typer.Option(help="The most that run at once.")] = None,
    starts: Annotated[int | None, typer.Option(help="The most that start in the span …")] = None,
    per_seconds: Annotated[float, typer.Option("--per", help="… of so many seconds.")] = 60.0,
    data_dir: DataDir = None,
) -> None:
    """Bound a task type over all workers; without bounds, lift its limit."""
    rate = None if starts is None else Rate(starts, per_seconds)
    _with_queue(
        lambda queue: queue.limit_type(task_type, concurrency, rate=rate), data_dir=data_dir
    )


def _with_queue(work: Callable[[TaskQueue], Awaitable[None]], **flags: object) -> None:
    settings = settings_from(log_level="WARNING", **flags)

    async def run() -> None:
        async with open_queue(settings) as queue:
            await work(queue)

    run_until_done(run)


async def _show(
    queue: TaskQueue, draw: Callable[[TaskQueue], Awaitable[Table]], *, watch: bool
) -> None:
    if not watch:
        Console().print(await draw(queue))
        return
    with Live(await draw(queue), auto_refresh=False) as live:
        while True:
            await anyio.sleep(_REDRAW)
            live.update(await draw(queue), refresh=True)


def _type_or_priority(what: str) -> str | TaskPriority:
    return TaskPriority[what] if what in TaskPriority.__members__ else what
