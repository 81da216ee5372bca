"""Sending spans to an OpenTelemetry collector over HTTP, where one is configured.

The OpenTelemetry SDK comes with the extra ``traces``; without it only the interface is there.
"""

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from mcp_orchestrator import __version__
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.telemetry.tracing import Tracing, chosen_ids

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

#: How long a span may wait for others to travel with, in milliseconds.
_SEND_EVERY: Final = 1_000
_PATH: Final = "/v1/traces"


def open_tracing(endpoint: str | None) -> tuple[Tracing, Callable[[], None]]:
    """Return what makes spans, and what sends the last of them; the latter blocks.

    The spans of the MCP library go the same way: it finds its tracer in the process.

    Args:
        endpoint: the collector's address, such as ``http://127.0.0.1:4318``; None sends nothing.

    Raises:
        ConfigurationError: the extra is not installed.
    """
    if endpoint is None:
        return Tracing(), _nothing
    provider = _provider(endpoint)
    trace.set_tracer_provider(provider)
    return Tracing(provider.get_tracer("mcp_orchestrator", __version__)), provider.shutdown


def _provider(endpoint: str) -> "TracerProvider":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "Setting otlp_endpoint: the OpenTelemetry SDK is not installed.",
            remedy="pip install 'mcp-orchestrator[traces]', or unset it.",
        ) from error

    class ChosenIds(RandomIdGenerator):
        """Gives the ids that were chosen for a place, and random ones otherwise."""

        def generate_trace_id(self) -> int:
            chosen = chosen_ids.get()
            return super().generate_trace_id() if chosen is None else chosen[0]

        def generate_span_id(self) -> int:
            chosen = chosen_ids.get()
            return super().generate_span_id() if chosen is None else chosen[1]

    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "mcp-orchestrator"),
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }
    )
    provider = TracerProvider(resource=resource, id_generator=ChosenIds(), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/").removesuffix(_PATH) + _PATH)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_SEND_EVERY))
    return provider


def _nothing() -> None:
    """Send nothing."""
