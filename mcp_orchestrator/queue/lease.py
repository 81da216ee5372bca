"""A lease: the right to finish one delivery of one task, until somebody else takes it over."""

from typing import NamedTuple, Self

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue.task import Task


class Lease(NamedTuple):
    """One delivery of a task; a tuple, because it is looked up for every task that is run.

    Args:
        task_id: the task.
        epoch: how often the task had been handed out, this time included. It only grows, so a
            holder with an older epoch is late and is refused.
    """

    task_id: str
    epoch: int

    @property
    def message_id(self) -> str:
        """Return the opaque text that consumers hold."""
        return f"{self.task_id}:{self.epoch}"

    @classmethod
    def parse(cls, message_id: str) -> Self:
        """Read a message id back.

        Raises:
            InvalidInputError: the text did not come from ``consume_tasks``.
        """
        task_id, separator, epoch = message_id.rpartition(":")
        if not separator or not task_id or not (epoch.isascii() and epoch.isdigit()):
            raise InvalidInputError(
                f"{message_id[:80]!r} is not a message id.",
                remedy="Pass the message id that consume_tasks gave together with the task.",
            )
        return cls(task_id, int(epoch))


class Delivery(NamedTuple):
    """A task and the lease under which it was handed out."""

    lease: Lease
    task: Task
