"""Signals: what happened outside, and the rules that say what it starts."""

from mcp_orchestrator.queue.signals.router import SignalRouter
from mcp_orchestrator.queue.signals.rule import (
    Outcome,
    SagaTarget,
    Signal,
    SignalRule,
    SignalSaga,
    SignalStatus,
    StartSaga,
    StartTask,
)

__all__ = [
    "Outcome",
    "SagaTarget",
    "Signal",
    "SignalRouter",
    "SignalRule",
    "SignalSaga",
    "SignalStatus",
    "StartSaga",
    "StartTask",
]
