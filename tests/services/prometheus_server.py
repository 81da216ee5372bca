"""A real Prometheus on loopback, and promtool."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.process import await_ready, find_program, free_port, stop_process

CONFIGURATION = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: mcp-orchestrator
    static_configs: [{{targets: {targets}}}]
"""


@dataclass(frozen=True)
class PrometheusServer:
    """A running server."""

    url: str

    def values(self, query: str) -> list[float]:
        """Return the values of an instant query, one for each series."""
        found = self._get("query", query=query)["result"]
        return [float(one["value"][1]) for one in found]

    def is_scraping(self) -> bool:
        """Tell whether every target answered the last time."""
        up = self.values("up")
        return bool(up) and all(value == 1 for value in up)

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
            return data


@contextmanager
def start_prometheus(folder: Path, targets: Sequence[str]) -> Generator[PrometheusServer]:
    """Scrape targets, each HOST:PORT, every second for the length of a block."""
    program = find_program("prometheus")
    folder.mkdir()
    config, log, port = folder / "prometheus.yml", folder / "prometheus.log", free_port()
    config.write_text(CONFIGURATION.format(targets=json.dumps(list(targets))))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    server = PrometheusServer(f"http://127.0.0.1:{port}")

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"{server.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        await_ready(process, is_ready, log)
        yield server
    finally:
        stop_process(process)
