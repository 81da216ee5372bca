"""The action ``queue.run_task``: a saga's step that queues a task and awaits its result."""

import anyio
import anyio.lowlevel
from pydantic import JsonValue

from mcp_orchestrator.errors import BusinessRefusalError, InvalidInputError
from mcp_orchestrator.queue import TaskPriority, TaskQueue, TaskStatus
from mcp_orchestrator.saga import Action, JsonObject, StepHandle

QUEUE_STEP = "queue.run_task"
DESCRIPTION: JsonObject = {
    "description": "Queue a task and wait for its result; if the task fails, the saga is undone.",
    "arguments": {
        "type": "object",
        "properties": {
            "task_type": {"type": "string"},
            "payload": {"type": "object"},
            "priority": {"enum": list(TaskPriority.__members__)},
        },
        "required": ["task_type"],
    },
    "compensation": None,
}
#: How long one look at the task lasts, in seconds; it ends at once when the task does.
_LOOK = 60.0


def queue_action(queue: TaskQueue) -> Action:
    """Return the action; a repeated step finds the task that it had added.

    Aborting its saga cancels the task.
    """

    async def run_task(arguments: JsonObject, step: StepHandle) -> JsonValue:
        task_type, payload = arguments.get("task_type"), arguments.get("payload", {})
        if not isinstance(task_type, str) or not isinstance(payload, dict):
            raise InvalidInputError("queue.run_task needs task_type as text and payload as object.")
        task = await queue.add_task(
            task_type, payload, priority=_priority(arguments.get("priority", "NORMAL")),
            idempotency_key=f"saga:{step.idempotency_key}", owner=step.user_id,
        )  # fmt: skip
        try:
            with step.waiting():
                while not task.status.is_final:
                    task = await queue.wait_for(task.task_id, _LOOK)
                    await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            if step.is_aborted:  # a process that only ends leaves the task to be found again
                with anyio.CancelScope(shield=True):
                    await queue.cancel_task(task.task_id)
            raise
        if task.status is not TaskStatus.COMPLETED:
            raise BusinessRefusalError(f"Task {task.task_id} is {task.status}: {task.error}")
        return task.result

    return run_task


def _priority(name: JsonValue) -> TaskPriority:
    if not isinstance(name, str) or name not in TaskPriority.__members__:
        known = ", ".join(TaskPriority.__members__)
        raise InvalidInputError(f"priority: {name!r} is none.", remedy=f"Use one of {known}.")
    return TaskPriority[name]
