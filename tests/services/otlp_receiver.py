"""An OpenTelemetry collector's front door on loopback: OTLP over HTTP, protobuf."""

import gzip
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.services.waiting import until


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it came over the wire."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    process: str
    attributes: dict[str, str | int]
    failed: bool
    message: str


@dataclass
class OtlpReceiver:
    """What has been received, and where."""

    endpoint: str
    spans: list[ReceivedSpan] = field(default_factory=list[ReceivedSpan])

    def named(self, name: str) -> list[ReceivedSpan]:
        """Return the spans whose names begin so."""
        return [span for span in self.spans if span.name.startswith(name)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was received fulfils a condition."""

        async def holds() -> bool:
            return condition()

        await until(holds)

    def tree_of(self, trace_id: str) -> dict[str, ReceivedSpan]:
        """Return the spans of a trace by id, having seen that they are one connected tree."""
        spans = [span for span in self.spans if span.trace_id == trace_id]
        by_id = {span.span_id: span for span in spans}
        assert len(by_id) == len(spans), "a span was sent twice"
        roots = [span for span in spans if not span.parent_id]
        orphans = [span for span in spans if span.parent_id and span.parent_id not in by_id]
        assert len(roots) == 1, roots
        assert orphans == []
        return by_id


@contextmanager
def otlp_receiver() -> Generator[OtlpReceiver]:
    """Receive spans for the length of a block."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            receiver.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        receiver = OtlpReceiver(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def _spans(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    return [
        ReceivedSpan(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.name,
            str(_plain(resource.resource.attributes)["service.instance.id"]),
            _plain(span.attributes),
            span.status.code == 2,
            span.status.message,
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _plain(attributes: Iterable[KeyValue]) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in attributes}
