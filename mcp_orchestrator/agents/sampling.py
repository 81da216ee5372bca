"""The client's own model, through a mailbox in the store.

A saga runs in the background and cannot call the client; the client's model is reached only while
the client holds a call open. So the saga posts its question here and waits, and whoever serves an
open call takes the question out, asks the client, and puts the answer back. Both may be in
different processes: they meet in the database.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import timedelta

import anyio
from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mcp_orchestrator.agents.bell import Bell
from mcp_orchestrator.agents.model import ModelReply, ModelRequest, Progress, RemoteJobs
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import (
    InvalidInputError,
    NotFoundError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.ledger import sampling_requests as requests


@dataclass(frozen=True)
class SamplingRequest:
    """A question for the client's model, taken out of the mailbox."""

    request_id: str
    scope: str
    request: ModelRequest


@dataclass(frozen=True)
class _Answer:
    reply: dict[str, object] | None
    declined: str | None


class SamplingMailbox:
    """Questions and answers of all sagas, durable and shared by all processes.

    Args:
        database: read from.
        committer: written through.
        clock: dates the questions and bounds the waits.
        poll: seconds between looks for what other processes have written.
        claim: seconds for which a question that was taken out is kept from others.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        clock: Clock,
        *,
        poll: float = 0.25,
        claim: float = 120.0,
    ) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._poll = poll
        self._claim = timedelta(seconds=claim)
        self._bell = Bell(clock)

    async def post(self, scope: str, request: ModelRequest) -> str:
        """Put a question in, once, and return its id.

        The same scope and purpose (without a purpose: the same words) is the same question: a
        saga that starts over after a crash finds the answer it was given before.
        """
        subject = _subject(request)
        row = {
            "id": uuid.uuid4().hex, "scope": scope, "subject": subject,
            "request": request.to_json(), "posted_at": self._clock.now(),
        }  # fmt: skip
        dialect = sqlite if self._database.is_sqlite else postgresql

        def unit(connection: Connection) -> str:
            same = and_(requests.c.scope == scope, requests.c.subject == subject)
            connection.execute(dialect.insert(requests).values(row).on_conflict_do_nothing())
            asked_again = {"declined": None, "claimed_until": None, "request": row["request"]}
            declined = and_(same, requests.c.declined.is_not(None))
            connection.execute(update(requests).where(declined).values(asked_again))
            return connection.execute(select(requests.c.id).where(same)).scalar_one()

        request_id = await self._committer.submit(unit)
        self._bell.ring()
        return request_id

    async def pending(self, scope: str, *, wait: float) -> SamplingRequest | None:
        """Take out the oldest question of a scope that nobody is answering.

        It is kept from others for a while; ``release`` puts it back at once.

        Args:
            scope: the saga's id.
            wait: seconds to wait for one at most.
        """
        deadline = self._clock.monotonic() + wait
        while True:
            rung = self._bell.listen()
            taken = await self._take(scope)
            left = deadline - self._clock.monotonic()
            if taken is not None or left <= 0:
                return taken
            await self._bell.wait(rung, min(left, self._poll))

    async def answer(self, question: SamplingRequest, reply: ModelReply) -> None:
        """Put an answer in; the first one counts, later ones change nothing.

        Args:
            question: as it was taken out. Whoever was not shown its saga cannot answer it: its
                id alone is not enough.
            reply: the answer.

        Raises:
            NotFoundError: that saga has no such question (it was withdrawn).
        """
        await self._put(question, {"reply": reply.to_json()})

    async def decline(self, question: SamplingRequest, reason: str) -> None:
        """Record that the client's person or model refused to answer.

        Raises:
            NotFoundError: that saga has no such question (it was withdrawn).
        """
        await self._put(question, {"declined": reason})

    async def release(self, request_id: str) -> None:
        """Put a question back that was taken out and will not be answered by the taker."""
        statement = update(requests).where(requests.c.id == request_id, _open())
        await self._committer.submit(lambda c: c.execute(statement.values(claimed_until=None)))
        self._bell.ring()

    async def withdraw(self, request_id: str) -> None:
        """Take a question away that nobody is answering yet."""
        unclaimed = or_(
            requests.c.claimed_until.is_(None), requests.c.claimed_until < self._clock.now()
        )
        statement = delete(requests).where(requests.c.id == request_id, _open(), unclaimed)
        await self._committer.submit(lambda connection: connection.execute(statement))

    async def forget(self, scope: str) -> None:
        """Delete all questions and answers of a scope."""
        statement = delete(requests).where(requests.c.scope == scope)
        await self._committer.submit(lambda connection: connection.execute(statement))

    async def wait_for_answer(self, request_id: str, *, timeout: float) -> ModelReply | None:
        """Wait for the answer to a question; None when it has not come in time.

        Args:
            request_id: what ``post`` returned.
            timeout: seconds to wait at most.

        Raises:
            ProviderRejectedError: the client declined, or the question was withdrawn.
        """
        deadline = self._clock.monotonic() + timeout
        while True:
            rung = self._bell.listen()
            found = await self._read(request_id)
            if found is None or found.declined is not None:
                raise _declined((found and found.declined) or "the question was withdrawn")
            if found.reply is not None:
                return ModelReply.from_json(found.reply)
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return None
            await self._bell.wait(rung, min(left, self._poll))

    async def _take(self, scope: str) -> SamplingRequest | None:
        now = self._clock.now()
        free = or_(requests.c.claimed_until.is_(None), requests.c.claimed_until < now)
        oldest = (
            select(requests.c.id, requests.c.request)
            .where(requests.c.scope == scope, _open(), free)
            .order_by(requests.c.posted_at, requests.c.id)
            .limit(1)
        )
        async with self._database.read() as connection:  # most looks find nothing
            if (await connection.execute(oldest)).first() is None:
                return None

        def unit(connection: Connection) -> SamplingRequest | None:
            row = connection.execute(oldest.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            mine = update(requests).where(requests.c.id == row.id)
            connection.execute(mine.values(claimed_until=now + self._claim))
            return SamplingRequest(row.id, scope, ModelRequest.from_json(row.request))

        return await self._committer.submit(unit)

    async def _put(self, question: SamplingRequest, values: dict[str, object]) -> None:
        same = and_(requests.c.id == question.request_id, requests.c.scope == question.scope)

        def unit(connection: Connection) -> bool:
            first = update(requests).where(same, _open()).values(values)
            if connection.execute(first).rowcount:
                return True
            return connection.execute(select(requests.c.id).where(same)).first() is not None

        if not await self._committer.submit(unit):
            raise NotFoundError(
                f"There is no sampling request {question.request_id!r}.",
                remedy="It was withdrawn; nothing needs to be answered.",
            )
        self._bell.ring()

    async def _read(self, request_id: str) -> _Answer | None:
        statement = select(requests.c.reply, requests.c.declined).where(requests.c.id == request_id)
        async with self._database.read() as connection:
            row = (await connection.execute(statement)).first()
        return _Answer(row.reply, row.declined) if row is not None else None


class SamplingModel:
    """The client's own model.

    Args:
        mailbox: where the questions go.
        scope: the saga's id; None takes it from each request.
        timeout: seconds to wait for an answer.
    """

    provider = "client"
    model = "sampling"

    def __init__(
        self, mailbox: SamplingMailbox, scope: str | None = None, *, timeout: float = 600.0
    ) -> None:
        self._mailbox = mailbox
        self._scope = scope
        self._timeout = timeout

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_progress: Progress | None = None,
        jobs: RemoteJobs | None = None,  # noqa: ARG002 - the mailbox remembers by itself
    ) -> ModelReply:
        """Post the question and wait for its answer.

        Raises:
            InvalidInputError: the model has no scope and the request has no saga.
            ProviderRejectedError: the client declined.
            ProviderUnavailableError: the client held no call open in time; the question stays, and
                asking again finds an answer that came late.
        """
        scope = self._scope or request.saga_id
        if scope is None:
            raise InvalidInputError(
                "Only a saga can ask the client's model.", remedy="Give the request a saga_id."
            )
        if on_progress is not None:
            await on_progress("waiting for the client's own model")
        request_id = await self._mailbox.post(scope, request)
        try:
            reply = await self._mailbox.wait_for_answer(request_id, timeout=self._timeout)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._mailbox.withdraw(request_id)
            raise
        if reply is None:
            raise ProviderUnavailableError(
                f"The client's model did not answer within {self._timeout:g} s.",
                provider=self.provider,
                remedy="Keep asking for the result with a wait: the client's model can only be "
                "reached while a call is open. Or set DEEPSEEK_API_KEY.",
            )
        return reply

    async def check(self) -> str:
        """Say in one line how it is reached; nobody can be asked now."""
        return "the client's own model, through sampling, while the client holds a call open"


def _open() -> ColumnElement[bool]:
    return and_(requests.c.reply.is_(None), requests.c.declined.is_(None))


def _subject(request: ModelRequest) -> str:
    if request.purpose:
        return request.purpose
    words = json.dumps(request.to_json(), sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _declined(reason: str) -> ProviderRejectedError:
    return ProviderRejectedError(
        f"The client's model did not answer: {reason}.",
        provider=SamplingModel.provider,
        remedy="Allow sampling in the client, or set DEEPSEEK_API_KEY.",
    )
