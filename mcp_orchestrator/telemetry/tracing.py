"""Spans of work that outlives processes.

A saga or a task is begun in one process and may be ended in another, after the first was killed.
A span is sent only when it ends, so what was under way in a killed process would be missing, and
everything below it would hang in the air. Therefore a span of such work has a *place* in its trace
that anybody can compute from ids in the store: whoever takes the work over sends the span that was
lost, and whoever ends it sends the one around the whole.

Contexts travel as W3C Trace Context ``traceparent`` texts (https://www.w3.org/TR/trace-context/).
"""

import hashlib
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

Attributes = Mapping[str, str | int | float | bool | None]
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
#: The ids that the next span of this context must get; read by the exporter's generator of ids.
chosen_ids: ContextVar[tuple[int, int] | None] = ContextVar("mcp_orchestrator.span", default=None)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a span stands in its trace.

    Attributes:
        trace_id: the trace.
        span_id: the span.
        parent: the span above it; None for the first of the trace.
        flags: W3C trace flags; 1 for a trace that is recorded.
    """

    trace_id: int
    span_id: int
    parent: int | None
    flags: int = TraceFlags.SAMPLED

    def below(self, name: str) -> "Place":
        """Return the place of a span below this one, the same for the same name."""
        seed = f"{self.trace_id:x}/{self.span_id:x}/{name}"
        return Place(self.trace_id, _number(seed, 8), self.span_id, self.flags)

    @property
    def context(self) -> SpanContext:
        """What spans below it name as their parent."""
        return _span_context(self.trace_id, self.span_id, self.flags)


def place_of(work: str, traceparent: str | None) -> Place:
    """Return the place of some work.

    Args:
        work: its id, which nothing else has.
        traceparent: the span it was asked for in; None begins a trace of its own.
    """
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return Place(_number(f"trace {work}", 16), _number(work, 8), None)
    trace_id, parent, flags = (int(part, 16) for part in found.groups())
    return Place(trace_id, _number(work, 8), parent, flags)


def current_traceparent() -> str | None:
    """Return the span that the present code is in, as text; None where nothing is recorded."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


class Tracing:
    """Makes spans; without a tracer it does nothing.

    Args:
        tracer: what records them; None where traces are off.
    """

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer

    @property
    def is_on(self) -> bool:
        """Whether anything is recorded."""
        return self._tracer is not None

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        place: Place | None = None,
    ) -> Generator[Span]:
        """Record a block; an error that leaves it is noted by its type.

        Args:
            name: what happens, without ids.
            attributes: more about it; None values are left out.
            kind: ``CLIENT`` for what calls another system.
            place: where it stands; below what is under way if left out.
        """
        if self._tracer is None:
            yield trace.INVALID_SPAN
            return
        span = self._begin(self._tracer, name, attributes, kind=kind, place=place)
        with trace.use_span(span, end_on_exit=True, record_exception=False,
                            set_status_on_exception=False):  # fmt: skip
            try:
                yield span
            except BaseException as error:  # a cancel, too, is worth knowing
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise

    def record(
        self,
        name: str,
        place: Place,
        attributes: Attributes,
        *,
        started: datetime,
        ended: datetime,
        error: str | None = None,
    ) -> None:
        """Record what is over, wherever it was begun.

        Args:
            name: what happened, without ids.
            place: where it stands.
            attributes: more about it; None values are left out.
            started: when it began.
            ended: when it ended.
            error: why it counts as failed; None if it does not.
        """
        if self._tracer is None:
            return
        span = self._begin(self._tracer, name, attributes, place=place, started=started)
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(_nanoseconds(ended))

    def _begin(
        self,
        tracer: Tracer,
        name: str,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        place: Place | None = None,
        started: datetime | None = None,
    ) -> Span:
        known = {key: value for key, value in attributes.items() if value is not None}
        began = _nanoseconds(started) if started is not None else None
        if place is None:
            return tracer.start_span(name, kind=kind, attributes=known, start_time=began)
        above = contexts.Context()
        if place.parent is not None:
            parent = _span_context(place.trace_id, place.parent, place.flags)
            above = trace.set_span_in_context(NonRecordingSpan(parent), above)
        token = chosen_ids.set((place.trace_id, place.span_id))
        try:
            return tracer.start_span(name, above, kind, known, start_time=began)
        finally:
            chosen_ids.reset(token)


def note(event: str, attributes: Attributes) -> None:
    """Add a line to the span that the present code is in, if one is recorded."""
    span = trace.get_current_span()
    if span.is_recording():
        known = {key: value for key, value in attributes.items() if value is not None}
        span.add_event(event, known)


def _span_context(trace_id: int, span_id: int, flags: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def _number(seed: str, size: int) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:size]) or 1


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1_000
