"""Tasks that used up their retries: looking into them, trying them again, forgetting them."""

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.queue.port import QueueBackend, TaskFilter, unknown_task
from mcp_orchestrator.queue.task import EventKind, Task, TaskEvent, TaskStatus

_PAGE = 200


class DeadLetters:
    """The dead letters of one queue; reached as ``queue.dead_letters``."""

    def __init__(self, backend: QueueBackend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock

    async def list_tasks(
        self, task_type: str | None = None, *, before: str | None = None, limit: int = 50
    ) -> list[Task]:
        """Return dead letters with their errors and histories, newest first."""
        return await self._backend.list_tasks(
            TaskFilter(TaskStatus.DEAD_LETTER, task_type, before=before, limit=limit)
        )

    async def retry(self, task_id: str) -> Task:
        """Give a dead letter or failed task all its attempts again.

        Raises:
            NotFoundError: there is no such task.
            ConflictError: it is neither a dead letter nor failed.
        """
        task = await self._backend.get(task_id)
        if task is None:
            raise unknown_task(task_id)
        if not await self._requeue(task):
            raise ConflictError(
                f"The task {task_id} is {task.status.value}.",
                remedy="Only dead-letter and failed tasks can be tried again.",
            )
        return await self._backend.get(task_id) or task

    async def retry_all(self, task_type: str | None = None) -> int:
        """Try every dead letter again, or those of one type; return how many there were."""
        retried = 0
        while page := await self.list_tasks(task_type, limit=_PAGE):
            for task in page:
                retried += await self._requeue(task)
        return retried

    async def purge(self, task_type: str | None = None) -> int:
        """Forget every dead letter, or those of one type; return how many there were."""
        return await self._backend.purge_dead(task_type)

    async def _requeue(self, task: Task) -> bool:
        now = self._clock.now()
        event = TaskEvent(now, EventKind.REQUEUED, task.attempt, task.worker_id)
        return await self._backend.requeue(task.task_id, event, now)
