"""A port of its own for Prometheus, for programs that serve no HTTP: workers and stdio servers."""

import logging
import urllib.request
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from mcp_orchestrator.errors import ConfigurationError

_log = logging.getLogger(__name__)
#: How long one process may take to answer, in seconds; Prometheus gives up after ten.
_PATIENCE: Final = 2.0
_LABEL: Final = "worker_process"


@contextmanager
def metrics_port(
    registry: CollectorRegistry, host: str, port: int, *, write_to: Path | None = None
) -> Generator[int]:
    """Serve metrics at ``/metrics`` for the length of a block, from a thread.

    Args:
        registry: what is served.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        write_to: file that tells the port to another process.

    Yields:
        The port.

    Raises:
        ConfigurationError: it cannot be listened on.
    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(
            f"Setting metrics_port: {host}:{port} cannot be listened on ({error.strerror}).",
            remedy="Choose another port, or 0 for a free one.",
        ) from error
    try:
        if write_to is not None:
            write_to.write_text(str(server.server_port), encoding="ascii")
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Gathered(Collector):
    """The metrics of several processes as one page, each sample labelled with its process.

    Nothing is added up here: a process that was started again begins its counters anew, and only
    Prometheus, which sees each by itself, can tell that from a decrease.

    Args:
        files: where each process has written its port; the place in the list is the label.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def collect(self) -> Iterable[Metric]:
        """Ask every process that answers."""
        families: dict[str, Metric] = {}
        answering = 0
        for number, file in enumerate(self._files):
            page = _ask(file)
            answering += page is not None
            for family in _labelled(page or "", str(number)):
                known = families.setdefault(family.name, family)
                if known is not family:
                    known.samples.extend(family.samples)
        yield GaugeMetricFamily(
            "worker_processes", "Worker processes that answer.", value=answering
        )
        yield from families.values()


def _ask(file: Path) -> str | None:
    try:
        port = int(file.read_text(encoding="ascii"))
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            return answer.read().decode()
    except (OSError, ValueError) as error:  # not there yet, or not any more
        _log.debug("A worker process gave no metrics: %s", error)
        return None


def _labelled(page: str, number: str) -> Iterator[Metric]:
    for family in text_string_to_metric_families(page):
        family.samples = [
            sample._replace(labels={**sample.labels, _LABEL: number}) for sample in family.samples
        ]
        yield family
