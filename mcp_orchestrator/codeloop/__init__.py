"""The code loop: reason, generate, test, fix, as one durable saga."""

from mcp_orchestrator.codeloop.delivery import Deliveries
from mcp_orchestrator.codeloop.feedback import first_question
from mcp_orchestrator.codeloop.loop import (
    APPROVAL,
    LOOP_TYPE,
    CodeLoop,
    delivery_question,
    loop_definition,
    progress_so_far,
)
from mcp_orchestrator.codeloop.problem import Budget, Choice, Problem
from mcp_orchestrator.codeloop.reply import extract_code
from mcp_orchestrator.codeloop.report import (
    LoopResult,
    describe,
    describe_spend,
    repair_diffs,
    write_report,
)
from mcp_orchestrator.codeloop.roles import NO_PROVIDER_REMEDY, Roles

__all__ = [
    "APPROVAL",
    "LOOP_TYPE",
    "NO_PROVIDER_REMEDY",
    "Budget",
    "Choice",
    "CodeLoop",
    "Deliveries",
    "LoopResult",
    "Problem",
    "Roles",
    "delivery_question",
    "describe",
    "describe_spend",
    "extract_code",
    "first_question",
    "loop_definition",
    "progress_so_far",
    "repair_diffs",
    "write_report",
]
