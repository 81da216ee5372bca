"""A long call as its queued task carries it, and what came of it (pure)."""

from typing import Any, Final

from mcp_types import CallToolResult, InputRequiredResult, TextContent
from pydantic import BaseModel, JsonValue

from mcp_orchestrator.errors import OrchestratorError
from mcp_orchestrator.mcp_tasks import McpTask, TaskStatus
from mcp_orchestrator.queue import Task
from mcp_orchestrator.queue import TaskStatus as QueuedStatus
from mcp_orchestrator.server.waiting import ASK_AGAIN_AFTER

#: What the types of the queued tasks begin with, before the tool's name.
_TYPE: Final = "mcp."
#: What the ids of their MCP tasks begin with, before the queued task's.
PREFIX: Final = "call-"

Json = dict[str, Any]


class LongCall(BaseModel):
    """One round of a call: it asks, or it ends.

    Attributes:
        tool: which tool.
        arguments: its arguments.
        capabilities: what the client can be asked.
        round: the number of the round, from 1.
        first: the queued task of the first round; None in it.
        answers: what the client has said to the round before, by the tool's keys.
        state: what the tool has handed on from the round before.
    """

    tool: str
    arguments: Json = {}
    capabilities: Json = {}
    round: int = 1
    first: str | None = None
    answers: Json = {}
    state: str | None = None


class Outcome(BaseModel):
    """What came of a round: one of a result, the protocol's error, or questions."""

    result: Json | None = None
    error: Json | None = None
    asked: bool = False
    state: str | None = None


def task_type(tool: str) -> str:
    """Return the type of a tool's queued tasks, so that workers take those of tools they have."""
    return f"{_TYPE}{tool}"


def is_call(task: Task) -> bool:
    """Tell whether a queued task is a round of a call."""
    return task.task_type.startswith(_TYPE)


def call_of(task: Task) -> LongCall:
    """Return the round that a queued task carries."""
    return LongCall.model_validate(task.payload)


def outcome_of(task: Task) -> Outcome:
    """Return what came of a task that has ended; one that failed has ended in an error's text."""
    if task.status is QueuedStatus.COMPLETED:
        return Outcome.model_validate(task.result)
    return Outcome(result=on_wire(error_result(task.error or f"The call was {task.status}.")))


def ended(result: CallToolResult) -> JsonValue:
    """Return what the queue keeps of a round that has ended in a result."""
    return Outcome(result=on_wire(result)).model_dump(mode="json")


def failed(code: int, message: str) -> JsonValue:
    """Return what the queue keeps of a round that has ended in the protocol's error."""
    return Outcome(error={"code": code, "message": message}).model_dump(mode="json")


def asking(result: InputRequiredResult) -> JsonValue:
    """Return what the queue keeps of a round that asks; its questions are kept apart."""
    return Outcome(asked=True, state=result.request_state).model_dump(mode="json")


def on_wire(result: CallToolResult) -> Json:
    """Return a result as it is sent."""
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


def error_result(text: str) -> CallToolResult:
    """Return a tool's own error."""
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def refusal(error: OrchestratorError) -> CallToolResult:
    """Return the answer to a call that could not be queued."""
    return error_result(f"[{error.code}] {error}")


def unfinished(task: Task) -> CallToolResult:
    """Return the answer to a client whose wait was over before the work was."""
    step = (
        f"Not finished yet; it goes on. Call queue_get_task with this task_id in"
        f" {ASK_AGAIN_AFTER:.0f} s; its `result` will be this tool's answer."
    )
    told = {
        "task_id": task.task_id, "status": task.status.value, "resource": f"task://{task.task_id}",
        "next": step,
    }  # fmt: skip
    text = "\n".join(f"{name}: {value}" for name, value in told.items())
    return CallToolResult(content=[TextContent(text=text)], structured_content=told)


def mcp_task(first: Task, latest: Task, questions: dict[str, Json]) -> McpTask:
    """Show a call as an MCP task.

    Args:
        first: the queued task of its first round, which names it.
        latest: that of its latest.
        questions: what is open, by the keys that the client sees.
    """
    status, told = TaskStatus.WORKING, Outcome()
    if questions:
        status = TaskStatus.INPUT_REQUIRED
    elif latest.status is QueuedStatus.CANCELLED:
        status = TaskStatus.CANCELLED
    elif latest.status.is_final:
        told = outcome_of(latest)
        status = TaskStatus.FAILED if told.error is not None else TaskStatus.COMPLETED
    message = latest.progress.message if latest.progress else latest.status.value
    updated = latest.finished_at or latest.started_at or latest.created_at
    return McpTask(
        f"{PREFIX}{first.task_id}", status, first.created_at, updated, message,
        result=told.result, error=told.error, input_requests=questions,
    )  # fmt: skip
