"""The spans of a task: one for each attempt, below what the task was added in."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Final

from mcp_orchestrator.queue.task import EventKind, Task
from mcp_orchestrator.telemetry.correlation import correlated
from mcp_orchestrator.telemetry.tracing import Attributes, Place, Tracing, place_of

#: After these an attempt has the same number again.
_NOT_COUNTED: Final = frozenset({EventKind.HANDED_BACK, EventKind.PREEMPTED})


class TaskTraces:
    """Records attempts, those that a dead worker began as well.

    Args:
        tracing: makes the spans.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def attempt(self, task: Task) -> AbstractContextManager[None]:
        """Let the log lines of a block name the task; record it as the present attempt."""
        named = correlated(task_id=task.task_id, principal=task.owner)
        return self._recorded(task, named) if self._tracing.is_on else named

    @contextmanager
    def _recorded(self, task: Task, named: AbstractContextManager[None]) -> Generator[None]:
        self._record_lost(task)
        place, about = _place(task, task.attempt), _about(task, task.attempt)
        with named, self._tracing.span(f"task {task.task_type}", about, place=place):
            yield

    def _record_lost(self, task: Task) -> None:
        """Record the attempt before this one if its worker died: nobody else can."""
        last = task.history[-1] if task.history else None
        if last is None or last.kind is not EventKind.WORKER_LOST:
            return
        before = task.history[-2].at if len(task.history) > 1 else task.created_at
        self._tracing.record(
            f"task {task.task_type}",
            _place(task, last.attempt),
            _about(task, last.attempt),
            started=before,
            ended=last.at,
            error="its worker stopped",
        )


def _place(task: Task, attempt: int) -> Place:
    """Return where an attempt stands; all of a task that was added in no trace share one."""
    given_up = sum(event.kind in _NOT_COUNTED for event in task.history)
    name = f"{attempt}.{given_up}"
    if task.traceparent is None:
        return replace(place_of(task.task_id, None).below(name), parent=None)
    return place_of(f"{task.task_id}/{name}", task.traceparent)


def _about(task: Task, attempt: int) -> Attributes:
    return {
        "task.id": task.task_id,
        "task.priority": task.priority.name,
        "task.attempt": attempt,
        "enduser.id": task.owner,
    }
