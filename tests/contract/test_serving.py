"""What servers behind one address share, on every database."""

from datetime import timedelta

from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.confirmations import UsedConfirmations
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.mcp_questions import McpQuestions
from mcp_orchestrator.store.server_keys import shared_key
from tests.services.skipping_clock import SkippingClock


async def test_every_server_finds_the_key_that_the_first_one_made(database: Database) -> None:
    clock = SkippingClock()
    async with GroupCommitter(database) as one, GroupCommitter(database) as another:
        key = await shared_key(database, one, clock, "state")
        assert len(key) == 32
        assert await shared_key(database, another, clock, "state") == key
        assert await shared_key(database, another, clock, "other") != key


async def test_a_confirmation_is_used_once_whoever_sees_it(database: Database) -> None:
    clock = SkippingClock()
    ends = clock.now() + timedelta(minutes=10)
    async with GroupCommitter(database) as one, GroupCommitter(database) as another:
        first = UsedConfirmations(database, one, clock)
        second = UsedConfirmations(database, another, clock)
        assert await first.use("a", ends)
        assert not await second.use("a", ends)
        assert await second.use("b", ends)
        await clock.sleep(601)
        assert await first.use("c", clock.now() + timedelta(minutes=10))
        assert not await first.use("c", ends)


async def test_questions_stay_open_until_each_is_answered_and_the_first_answer_counts(
    database: Database,
) -> None:
    async with GroupCommitter(database) as committer:
        kept = McpQuestions(database, committer)
        asked = {"name": {"method": "elicitation/create"}, "age": {"method": "sampling"}}
        await kept.ask("t", 1, asked)
        await kept.ask("t", 1, {"name": {"method": "another"}})
        await kept.ask("t", 2, {"name": {"method": "later"}})
        assert await kept.round("t", 1) == (asked, {})
        await kept.answer("t", 1, {"name": {"a": 1}, "unknown": {}})
        await kept.answer("t", 1, {"name": {"a": 2}})
        assert await kept.round("t", 1) == ({"age": asked["age"]}, {"name": {"a": 1}})
        assert await kept.round("t", 2) == ({"name": {"method": "later"}}, {})
        assert await kept.round("u", 1) == ({}, {})
