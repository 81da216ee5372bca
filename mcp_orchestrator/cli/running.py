"""What every command does first and last: read the settings, run, end in one clear line."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, cast

import anyio
import typer

from mcp_orchestrator.collector import collect_rarely
from mcp_orchestrator.settings import Settings, load_settings
from mcp_orchestrator.telemetry.logs import configure_logs

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the store and of what is delivered.")
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")]


def settings_from(**flags: object) -> Settings:
    """Read the settings under the given flags, and send the logs to stderr.

    Raises:
        ConfigurationError: one line that names the setting.
    """
    settings = load_settings(flags)
    configure_logs(settings.log_level)
    return settings


def run_until_done(work: Callable[[], Awaitable[None]]) -> None:
    """Run to the end; an error that came through task groups is still one of ours."""
    collect_rarely()
    try:
        anyio.run(work)
    except BaseExceptionGroup as group:
        raise _innermost(group) from None


def _innermost(error: BaseException) -> BaseException:
    """Unwrap what came alone through several task groups."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    inner = group.exceptions
    return _innermost(inner[0]) if len(inner) == 1 else group
