"""What Prometheus sees of the sandbox."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mcp_orchestrator.sandbox.result import ExecutionResult, RunStatus

#: Seconds; a warm start takes tenths of a millisecond, a container's cold start a second.
_START_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
_RUN_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300)


class SandboxMetrics:
    """The sandbox's metrics of one process.

    Args:
        registry: where they are registered; one set for each registry.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "sandbox_runs", "Runs that ended, by status.", ["status", "backend"], registry=registry
        )
        self._refusals = Counter(
            "sandbox_refusals", "Programs refused, by rule.", ["rule"], registry=registry
        )
        self._start = Histogram(
            "sandbox_start_seconds", "Until a worker was there.", ["worker"],
            registry=registry, buckets=_START_BUCKETS,
        )  # fmt: skip
        self._duration = Histogram(
            "sandbox_run_duration_seconds", "From request to result.", ["backend"],
            registry=registry, buckets=_RUN_BUCKETS,
        )  # fmt: skip
        self._waiting = Gauge("sandbox_pool_workers", "Started workers.", registry=registry)
        self._sessions = Gauge("sandbox_sessions", "Open sessions.", registry=registry)

    def watch(self, waiting: Callable[[], int], sessions: Callable[[], int]) -> None:
        """Learn where the numbers of waiting workers and of open sessions are to be had."""
        self._waiting.set_function(waiting)
        self._sessions.set_function(sessions)

    def taken(self, seconds: float, *, warm: bool) -> None:
        """Count a worker that was taken, from the pool or started anew."""
        self._start.labels("warm" if warm else "cold").observe(seconds)

    def ended(self, result: ExecutionResult) -> None:
        """Count a run."""
        self._runs.labels(result.status.value, result.backend).inc()
        if result.status is RunStatus.REFUSED:
            for rule in result.risk.rules:
                self._refusals.labels(rule).inc()
        else:
            self._duration.labels(result.backend).observe(result.duration_seconds)
