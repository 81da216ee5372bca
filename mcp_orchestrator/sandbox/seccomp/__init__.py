"""The system-call wall: one readable policy, from which both back ends' filters are made."""

from mcp_orchestrator.sandbox.seccomp.filter import compile_filter
from mcp_orchestrator.sandbox.seccomp.policy import SyscallPolicy, load_policy
from mcp_orchestrator.sandbox.seccomp.profile import docker_profile

__all__ = ["SyscallPolicy", "compile_filter", "docker_profile", "load_policy"]
