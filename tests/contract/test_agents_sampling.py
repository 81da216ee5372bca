"""The mailbox through which a saga reaches the client's own model, on every database."""

from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from mcp_orchestrator.agents import (
    Message,
    ModelReply,
    ModelRequest,
    SamplingMailbox,
    SamplingModel,
    SamplingRequest,
    Usage,
)
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import (
    InvalidInputError,
    NotFoundError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database, open_engine
from tests.services.skipping_clock import SkippingClock

ASK = ModelRequest((Message("user", "hello"),), purpose="loop.candidate.1")


def replied(text: str) -> ModelReply:
    return ModelReply(text, "", (), Usage(), "client", "some-model", 0.1, None, "stop")


@pytest.fixture
async def mailbox(database: Database) -> AsyncIterator[SamplingMailbox]:
    async with GroupCommitter(database) as committer:
        yield SamplingMailbox(database, committer, SystemClock())


@pytest.fixture
async def other_process(database_url: str, database: Database) -> AsyncIterator[SamplingMailbox]:
    """Shares nothing with ``mailbox`` but the database."""
    opened = open_engine(database_url)
    async with GroupCommitter(opened) as committer:
        yield SamplingMailbox(opened, committer, SystemClock())
    await opened.close()


async def serve(mailbox: SamplingMailbox, scope: str, count: int) -> list[str]:
    """Answer like a client that holds a call open."""
    served: list[str] = []
    while len(served) < count:
        taken = await mailbox.pending(scope, wait=20)
        assert taken is not None
        served.append(taken.request.purpose)
        await mailbox.answer(taken, replied(f"re: {taken.request.purpose}"))
    return served


@pytest.mark.parametrize("across", [False, True])
async def test_a_saga_gets_the_answers_of_whoever_serves_its_scope(
    mailbox: SamplingMailbox, other_process: SamplingMailbox, across: bool
) -> None:
    model = SamplingModel(mailbox, "saga-1", timeout=20)
    answers: dict[str, str] = {}

    async def ask(purpose: str) -> None:
        answers[purpose] = (await model.ask(replace(ASK, purpose=purpose))).text

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, other_process if across else mailbox, "saga-1", 5)
        for number in range(5):
            tasks.start_soon(ask, f"p{number}")
    assert answers == {f"p{number}": f"re: p{number}" for number in range(5)}


async def test_what_was_answered_once_is_never_asked_again(mailbox: SamplingMailbox) -> None:
    request_id = await mailbox.post("saga-1", ASK)
    assert await mailbox.post("saga-1", ASK) == request_id
    question = SamplingRequest(request_id, "saga-1", ASK)
    await mailbox.answer(question, replied("first"))
    await mailbox.answer(question, replied("second"))
    assert (await SamplingModel(mailbox, "saga-1").ask(ASK)).text == "first"
    assert await mailbox.pending("saga-1", wait=0) is None
    assert await mailbox.post("saga-2", ASK) != request_id
    nameless = replace(ASK, purpose="")
    other = replace(nameless, max_tokens=9)
    assert await mailbox.post("saga-1", nameless) != await mailbox.post("saga-1", other)


async def test_a_question_is_given_to_one_taker_until_it_is_put_back(
    mailbox: SamplingMailbox,
) -> None:
    first = await mailbox.post("saga-1", ASK)
    second = await mailbox.post("saga-1", replace(ASK, purpose="other"))
    taken = [await mailbox.pending("saga-1", wait=0) for _ in range(3)]
    assert [it.request_id if it else None for it in taken] == [first, second, None]
    assert await mailbox.pending("saga-2", wait=0) is None
    await mailbox.release(first)
    again = await mailbox.pending("saga-1", wait=0)
    assert again is not None
    assert again.request_id == first
    assert again.request == ASK


async def test_a_taker_that_died_loses_its_claim(database: Database) -> None:
    clock = SkippingClock()
    async with GroupCommitter(database) as committer:
        mailbox = SamplingMailbox(database, committer, clock, claim=120)
        await mailbox.post("saga-1", ASK)
        assert await mailbox.pending("saga-1", wait=0) is not None
        assert await mailbox.pending("saga-1", wait=60) is None
        assert await mailbox.pending("saga-1", wait=70) is not None
        assert len(clock.slept) > 100, "it waited by the clock it was given"


async def test_declining_is_an_error_and_asking_again_asks_again(mailbox: SamplingMailbox) -> None:
    request_id = await mailbox.post("saga-1", ASK)
    await mailbox.decline(SamplingRequest(request_id, "saga-1", ASK), "the user said no")
    with pytest.raises(ProviderRejectedError, match="the user said no"):
        await mailbox.wait_for_answer(request_id, timeout=0)
    assert await mailbox.post("saga-1", ASK) == request_id
    assert await mailbox.pending("saga-1", wait=0) is not None


async def test_nobody_answers_in_time_but_a_late_answer_counts(mailbox: SamplingMailbox) -> None:
    model = SamplingModel(mailbox, "saga-1", timeout=0)
    with pytest.raises(ProviderUnavailableError, match="call is open"):
        await model.ask(ASK)
    await serve(mailbox, "saga-1", 1)
    assert (await model.ask(ASK)).text == "re: loop.candidate.1"


async def test_a_cancelled_question_is_withdrawn_unless_somebody_is_answering(
    mailbox: SamplingMailbox,
) -> None:
    model = SamplingModel(mailbox, "saga-1")
    with anyio.move_on_after(0.1):
        await model.ask(ASK)
    assert await mailbox.pending("saga-1", wait=0) is None
    taken: list[SamplingRequest | None] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.ask, ASK)
        taken.append(await mailbox.pending("saga-1", wait=20))
        tasks.cancel_scope.cancel()
    assert taken[0] is not None
    await mailbox.answer(taken[0], replied("kept"))
    assert (await model.ask(ASK)).text == "kept"


async def test_bad_input(mailbox: SamplingMailbox) -> None:
    with pytest.raises(NotFoundError, match="withdrawn"):
        await mailbox.answer(SamplingRequest("nobody", "saga-1", ASK), replied("x"))
    with pytest.raises(InvalidInputError, match="saga"):
        await SamplingModel(mailbox).ask(ASK)
    await mailbox.post("saga-1", ASK)
    await mailbox.forget("saga-1")
    assert await mailbox.pending("saga-1", wait=0) is None


async def test_another_sagas_question_cannot_be_answered(mailbox: SamplingMailbox) -> None:
    request_id = await mailbox.post("saga-1", ASK)
    with pytest.raises(NotFoundError):
        await mailbox.answer(SamplingRequest(request_id, "saga-2", ASK), replied("forged"))
    with pytest.raises(NotFoundError):
        await mailbox.decline(SamplingRequest(request_id, "saga-2", ASK), "forged")
    taken = await mailbox.pending("saga-1", wait=0)
    assert taken is not None
    await mailbox.answer(taken, replied("mine"))
    assert (await SamplingModel(mailbox, "saga-1").ask(ASK)).text == "mine"
