"""The rounds of a long call: a tool that asks ends, and is called anew with the answers."""

from collections.abc import Mapping
from typing import Final

from mcp_orchestrator.queue import NewTask, Task, TaskQueue
from mcp_orchestrator.server.long_calls.call import Json, LongCall, call_of, outcome_of
from mcp_orchestrator.store.mcp_questions import McpQuestions

#: A round that is cancelled never begins: it is queued for later, and cancelled at once.
_LATER: Final = 3600.0


class Rounds:
    """Finds and begins the rounds of calls; each is a queued task, begun once whoever asks.

    Args:
        queue: where they wait and run.
        questions: what they have asked.
    """

    def __init__(self, queue: TaskQueue, questions: McpQuestions) -> None:
        self._queue = queue
        self._questions = questions

    async def latest(self, first: Task) -> tuple[Task, dict[str, Json]]:
        """Return the latest round of a call, and what it asks by the keys that the client sees."""
        task = first
        while task.status.is_final and (outcome := outcome_of(task)).asked:
            number = call_of(task).round
            still_open, answers = await self._questions.round(first.task_id, number)
            if still_open:
                return task, {f"{number}/{key}": it for key, it in still_open.items()}
            task = await self._next(first, task, answers, outcome.state)
        return task, {}

    async def answer(self, first: Task, answers: Mapping[str, Json]) -> None:
        """Keep answers, by the keys that the client sees; the last one begins the next round."""
        latest, _ = await self.latest(first)
        number = call_of(latest).round
        given = {
            key.removeprefix(f"{number}/"): answer
            for key, answer in answers.items()
            if key.startswith(f"{number}/")
        }
        await self._questions.answer(first.task_id, number, given)
        await self.latest(first)

    async def cancel(self, first: Task) -> None:
        """Cancel a call, whether it runs or waits for answers."""
        latest, asked = await self.latest(first)
        if asked:
            number = call_of(latest).round
            latest = await self._next(first, latest, {}, None, delay=_LATER)
            closed: dict[str, Json] = {key.removeprefix(f"{number}/"): {} for key in asked}
            await self._queue.cancel_task(latest.task_id)
            await self._questions.answer(first.task_id, number, closed)
        else:
            await self._queue.cancel_task(latest.task_id)

    async def _next(
        self, first: Task, asked: Task, answers: Json, state: str | None, *, delay: float = 0
    ) -> Task:
        """Begin the round after one that has asked, or find it where it has begun already."""
        before = call_of(asked)
        call = LongCall(
            tool=before.tool, arguments=before.arguments, capabilities=before.capabilities,
            round=before.round + 1, first=first.task_id, answers=answers, state=state,
        )  # fmt: skip
        new = NewTask(
            first.task_type,
            call.model_dump(mode="json"),
            idempotency_key=f"mcp:{first.task_id}:{call.round}",
            owner=first.owner,
            delay=delay,
        )
        return (await self._queue.add_tasks([new]))[0]
