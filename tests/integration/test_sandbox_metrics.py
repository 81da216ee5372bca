"""What Prometheus is told of the sandbox."""

from prometheus_client import CollectorRegistry

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.sandbox import ExecutionRequest, SandboxMetrics, open_sandbox

HOSTILE = "import os, ctypes, socket\nexec(input())\nos.system('rm -rf /')\n"


async def test_runs_starts_refusals_and_the_pool_are_counted() -> None:
    registry = CollectorRegistry()
    sandbox = await open_sandbox(
        "bubblewrap", clock=SystemClock(), warm=1, metrics=SandboxMetrics(registry)
    )

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    try:
        await sandbox.run(ExecutionRequest("print(1)"))
        await sandbox.run(ExecutionRequest("1 / 0"))
        await sandbox.run(ExecutionRequest(HOSTILE))
        assert value("sandbox_runs_total", status="ok", backend="bubblewrap") == 1
        assert value("sandbox_runs_total", status="error", backend="bubblewrap") == 1
        assert value("sandbox_runs_total", status="refused", backend="none") == 1
        assert value("sandbox_refusals_total", rule="native-code") == 1
        assert value("sandbox_start_seconds_count", worker="warm") == 2
        assert value("sandbox_run_duration_seconds_count", backend="bubblewrap") == 2
        assert value("sandbox_pool_workers") == 1
        session = await sandbox.open_session()
        assert value("sandbox_sessions") == 1
        await sandbox.close_session(session.session_id)
        assert value("sandbox_sessions") == 0
    finally:
        await sandbox.close()
