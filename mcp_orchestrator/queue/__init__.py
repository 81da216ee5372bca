"""The task queue: durable background work, most urgent first, on SQL or on Redis Streams."""

from mcp_orchestrator.queue.backoff import Backoff
from mcp_orchestrator.queue.config import TaskQueueConfig
from mcp_orchestrator.queue.dead_letters import DeadLetters
from mcp_orchestrator.queue.handler import RetryLater, TaskContext, TaskHandler
from mcp_orchestrator.queue.lease import Delivery
from mcp_orchestrator.queue.limit import LimitStats, Rate, TypeLimit
from mcp_orchestrator.queue.metrics import QueueMetrics
from mcp_orchestrator.queue.port import PriorityStats, QueueStats, TaskFilter, WorkerInfo
from mcp_orchestrator.queue.schedule import Schedule, Scheduler
from mcp_orchestrator.queue.signals import SignalRouter, SignalRule
from mcp_orchestrator.queue.task import (
    EventKind,
    NewTask,
    PriorityName,
    Task,
    TaskEvent,
    TaskPriority,
    TaskProgress,
    TaskStatus,
)
from mcp_orchestrator.queue.task_queue import TaskQueue
from mcp_orchestrator.queue.worker import Worker

__all__ = [
    "Backoff",
    "DeadLetters",
    "Delivery",
    "EventKind",
    "LimitStats",
    "NewTask",
    "PriorityName",
    "PriorityStats",
    "QueueMetrics",
    "QueueStats",
    "Rate",
    "RetryLater",
    "Schedule",
    "Scheduler",
    "SignalRouter",
    "SignalRule",
    "Task",
    "TaskContext",
    "TaskEvent",
    "TaskFilter",
    "TaskHandler",
    "TaskPriority",
    "TaskProgress",
    "TaskQueue",
    "TaskQueueConfig",
    "TaskStatus",
    "TypeLimit",
    "Worker",
    "WorkerInfo",
]
