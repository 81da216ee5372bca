"""What tools that run as MCP tasks have asked their clients, and what came back.

A tool that asks ends, and is called anew with the answers; each such turn is a round. Whoever may
know of a task is decided by its owner's queue task, not here.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.serving import mcp_task_questions as questions

Json = dict[str, Any]


class McpQuestions:
    """The questions of all MCP tasks.

    Args:
        database: read from.
        committer: written through.
    """

    def __init__(self, database: Database, committer: GroupCommitter) -> None:
        self._database = database
        self._committer = committer
        self._dialect = sqlite if database.is_sqlite else postgresql

    async def ask(self, task_id: str, number: int, asked: Mapping[str, Json]) -> None:
        """Write down a round's questions; a round that was asked already stays as it is.

        Args:
            task_id: the MCP task.
            number: the round, from 1.
            asked: the questions, by the tool's own keys.
        """
        rows = [
            {"task_id": task_id, "round": number, "key": key, "question": question}
            for key, question in asked.items()
        ]
        insert = self._dialect.insert(questions).on_conflict_do_nothing()
        await self._committer.submit(lambda connection: connection.execute(insert, rows))

    async def answer(self, task_id: str, number: int, answers: Mapping[str, Json]) -> None:
        """Keep answers to questions that have none yet; others change nothing."""

        def unit(connection: Connection) -> None:
            for key, answer in answers.items():
                connection.execute(
                    update(questions)
                    .where(questions.c.task_id == task_id, questions.c.round == number)
                    .where(questions.c.key == key, questions.c.answer.is_(None))
                    .values(answer=answer)
                )

        await self._committer.submit(unit)

    async def round(self, task_id: str, number: int) -> tuple[dict[str, Json], dict[str, Json]]:
        """Return what a round has asked that is still open, and the answers there are."""
        query = select(questions.c.key, questions.c.question, questions.c.answer).where(
            questions.c.task_id == task_id, questions.c.round == number
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(questions.c.key))).all()
        still_open = {row.key: row.question for row in rows if row.answer is None}
        return still_open, {row.key: row.answer for row in rows if row.answer is not None}
