"""The one place that builds everything from the settings, and closes it."""

from mcp_orchestrator.runtime.health import HealthReport, PartHealth, examine
from mcp_orchestrator.runtime.parts import open_ledger, open_queue, open_runs, open_tokens
from mcp_orchestrator.runtime.runtime import Runtime, open_runtime

__all__ = [
    "HealthReport",
    "PartHealth",
    "Runtime",
    "examine",
    "open_ledger",
    "open_queue",
    "open_runs",
    "open_runtime",
    "open_tokens",
]
