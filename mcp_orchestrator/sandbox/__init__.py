"""Running code that nobody has read: one request in, one result out, whatever the back end."""

from mcp_orchestrator.sandbox.docker.building import build_image
from mcp_orchestrator.sandbox.opening import DEFAULT_IMAGE, BackendChoice, open_sandbox
from mcp_orchestrator.sandbox.policy import RiskPolicy
from mcp_orchestrator.sandbox.request import ExecutionRequest, Limits, TestRequest
from mcp_orchestrator.sandbox.result import (
    ExecutionResult,
    Frame,
    RunStatus,
    SandboxStatus,
    TestCase,
    TestReport,
)
from mcp_orchestrator.sandbox.risk import RiskFinding, RiskReport, assess
from mcp_orchestrator.sandbox.sandbox import Sandbox

__all__ = [
    "DEFAULT_IMAGE",
    "BackendChoice",
    "ExecutionRequest",
    "ExecutionResult",
    "Frame",
    "Limits",
    "RiskFinding",
    "RiskPolicy",
    "RiskReport",
    "RunStatus",
    "Sandbox",
    "SandboxStatus",
    "TestCase",
    "TestReport",
    "TestRequest",
    "assess",
    "build_image",
    "open_sandbox",
]
