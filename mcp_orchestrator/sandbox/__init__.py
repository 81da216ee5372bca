"""Running code that nobody has read: one request in, one result out, whatever the back end."""

from mcp_orchestrator.sandbox.artifacts import Artifact
from mcp_orchestrator.sandbox.docker.building import build_image
from mcp_orchestrator.sandbox.metrics import SandboxMetrics
from mcp_orchestrator.sandbox.opening import DEFAULT_IMAGE, BackendChoice, open_sandbox
from mcp_orchestrator.sandbox.policy import Decision, RiskPolicy
from mcp_orchestrator.sandbox.profiles import PLAIN, Profiles
from mcp_orchestrator.sandbox.request import ExecutionRequest, Limits, TestRequest
from mcp_orchestrator.sandbox.result import (
    Coverage,
    ExecutionResult,
    Frame,
    RunStatus,
    SandboxStatus,
    TestCase,
    TestReport,
)
from mcp_orchestrator.sandbox.risk import RiskFinding, RiskReport, assess
from mcp_orchestrator.sandbox.sandbox import Sandbox
from mcp_orchestrator.sandbox.sessions import SessionView

__all__ = [
    "DEFAULT_IMAGE",
    "PLAIN",
    "Artifact",
    "BackendChoice",
    "Coverage",
    "Decision",
    "ExecutionRequest",
    "ExecutionResult",
    "Frame",
    "Limits",
    "Profiles",
    "RiskFinding",
    "RiskPolicy",
    "RiskReport",
    "RunStatus",
    "Sandbox",
    "SandboxMetrics",
    "SandboxStatus",
    "SessionView",
    "TestCase",
    "TestReport",
    "TestRequest",
    "assess",
    "build_image",
    "open_sandbox",
]
