"""What every command does first and last: read the settings, run, end in one clear line."""

import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast

import anyio
import typer
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from mcp_orchestrator.collector import collect_rarely
from mcp_orchestrator.settings import Settings, load_settings
from mcp_orchestrator.telemetry.logs import configure_logs
from mcp_orchestrator.telemetry.metrics_port import metrics_port

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the store and of what is delivered.")
]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", help="Port for Prometheus; 0 takes a free one.")
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")]


def settings_from(**flags: object) -> Settings:
    """Read the settings under the given flags, and send the logs to stderr.

    Raises:
        ConfigurationError: one line that names the setting.
    """
    settings = load_settings(flags)
    configure_logs(settings.log_level, settings.log_format, _secrets_of(settings))
    return settings


@contextmanager
def metrics_of(
    registry: CollectorRegistry, settings: Settings, *, write_to: Path | None = None
) -> Generator[None]:
    """Serve metrics on a port of their own, where the settings name one, for a block.

    Args:
        registry: what is served.
        settings: where; the port that was taken is said on stderr.
        write_to: file that tells another process the port instead; any free one is taken.
    """
    if write_to is not None:
        with metrics_port(registry, "127.0.0.1", 0, write_to=write_to):
            yield
    elif settings.metrics_port is not None:
        host = settings.metrics_host
        with metrics_port(registry, host, settings.metrics_port) as port:
            sys.stderr.write(f"metrics at http://{host}:{port}/metrics\n")
            sys.stderr.flush()
            yield
    else:
        yield


def _secrets_of(settings: Settings) -> list[str]:
    """Return every secret among the settings; a list of keys is one text."""
    given = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    return [part for text in given for part in text.split(",") if part]


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
