"""Sagas: ordered steps that finish, or undo themselves, whatever crashes on the way."""

from mcp_orchestrator.errors import BusinessRefusalError
from mcp_orchestrator.saga.built_in import BUILT_IN_ACTIONS
from mcp_orchestrator.saga.definition import SagaDefinition, SagaStep
from mcp_orchestrator.saga.engine import SagaEngine
from mcp_orchestrator.saga.events import EventType
from mcp_orchestrator.saga.explanation import Explanation, explain, mermaid
from mcp_orchestrator.saga.intervention import Interventions
from mcp_orchestrator.saga.metrics import SagaMetrics
from mcp_orchestrator.saga.orchestrator import SagaConfig, SagaOrchestrator, SagaResult
from mcp_orchestrator.saga.orders import Order, Preview
from mcp_orchestrator.saga.parsing import DefinitionDocument, RetryDocument, parse_definition
from mcp_orchestrator.saga.reconciliation import Finding
from mcp_orchestrator.saga.registered import Registration
from mcp_orchestrator.saga.retry import NO_RETRY, RetryPolicy
from mcp_orchestrator.saga.states import SagaState, StepState
from mcp_orchestrator.saga.step import Action, ActionCatalog, StepHandle, StepOperations, progress
from mcp_orchestrator.saga.values import JsonObject, JsonValue
from mcp_orchestrator.saga.view import AuditEvent, SagaView, StepView

__all__ = [
    "BUILT_IN_ACTIONS",
    "NO_RETRY",
    "Action",
    "ActionCatalog",
    "AuditEvent",
    "BusinessRefusalError",
    "DefinitionDocument",
    "EventType",
    "Explanation",
    "Finding",
    "Interventions",
    "JsonObject",
    "JsonValue",
    "Order",
    "Preview",
    "Registration",
    "RetryDocument",
    "RetryPolicy",
    "SagaConfig",
    "SagaDefinition",
    "SagaEngine",
    "SagaMetrics",
    "SagaOrchestrator",
    "SagaResult",
    "SagaState",
    "SagaStep",
    "SagaView",
    "StepHandle",
    "StepOperations",
    "StepState",
    "StepView",
    "explain",
    "mermaid",
    "parse_definition",
    "progress",
]
