"""Logs: one line an event, to stderr, never to stdout (which belongs to the protocol).

Each line carries the ids of what it is about and, while a trace is recorded, those of its span.
"""

import json
import logging
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final, Literal

from opentelemetry import trace

from mcp_orchestrator.telemetry.correlation import current_ids
from mcp_orchestrator.telemetry.redaction import redact

LogFormat = Literal["text", "json"]
#: Libraries that tell more than anybody wants to know.
_NOISY: Final = ("httpx", "httpcore", "docker", "urllib3", "alembic", "aiosqlite", "asyncio")


def configure_logs(level: str, style: LogFormat = "text", secrets: Collection[str] = ()) -> None:
    """Send the program's logs to stderr.

    Args:
        level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
        style: lines for people, or JSON objects for programs.
        secrets: texts that must not appear, besides whatever looks like a key.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((JsonLines if style == "json" else TextLines)(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


class TextLines(logging.Formatter):
    """Lines for people: time, level, logger, message, ids, and a traceback below.

    Args:
        secrets: texts that are blotted out.
    """

    def __init__(self, secrets: Collection[str] = ()) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self._secrets = secrets

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return the first line."""
        ids = "".join(f" {name}={value}" for name, value in _ids().items())
        return super().formatMessage(record) + ids

    def format(self, record: logging.LogRecord) -> str:
        """Return the whole entry."""
        return redact(super().format(record), self._secrets)


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, ids, ``exception``.

    Args:
        secrets: texts that are blotted out.
    """

    def __init__(self, secrets: Collection[str] = ()) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage(), self._secrets),
            **_ids(),
        }
        if record.exc_info:
            entry["exception"] = redact(self.formatException(record.exc_info), self._secrets)
        return json.dumps(entry, ensure_ascii=False)


def _ids() -> dict[str, str]:
    ids = current_ids()
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        ids["trace_id"] = trace.format_trace_id(span.trace_id)
        ids["span_id"] = trace.format_span_id(span.span_id)
    return ids
