"""The feed of events on both databases: in order, without gaps, never held up by a listener."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from sqlalchemy import insert

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.queue import TaskQueue, TaskQueueConfig
from mcp_orchestrator.server.auth.principal import LOCAL, Principal
from mcp_orchestrator.store.chain import GENESIS
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.sagas import saga_audit_logs
from mcp_orchestrator.web.feed import MOST_AT_ONCE, EventFeed, Filter, Listener

SAGAS = Filter(frozenset({"saga"}))


class Looks(SystemClock):
    """A clock whose sleeper goes on when told."""

    def __init__(self) -> None:
        self._asleep = anyio.Event()
        self._wake = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait to be told."""
        self._wake = anyio.Event()
        self._asleep.set()
        await self._wake.wait()

    async def one(self) -> None:
        """Let the sleeper do what it does between two sleeps."""
        await self._asleep.wait()
        self._asleep = anyio.Event()
        self._wake.set()
        await self._asleep.wait()


class Stream:
    """A feed that looks when told, and the trail it looks at."""

    def __init__(self, database: Database, feed: EventFeed, looks: Looks) -> None:
        self._database = database
        self.feed = feed
        self.look_clock = looks
        self.look = looks.one

    async def write(self, *numbers: int, owner: str | None = None) -> None:
        """Write events under given numbers."""
        rows: list[dict[str, object]] = [
            {
                "id": number, "saga_id": f"saga_{number}", "sequence": 1,
                "event_type": "saga_start", "event_data": {}, "timestamp": self.look_clock.now(),
                "user_id": owner, "saga_state_before": "idle", "saga_state_after": "running",
                "retry_count": 0, "runner_id": "r", "epoch": 1, "hash": GENESIS,
            }
            for number in numbers
        ]  # fmt: skip
        async with self._database.write() as connection:
            await connection.execute(insert(saga_audit_logs), rows)


@pytest.fixture
async def stream(database: Database, committer: GroupCommitter) -> AsyncIterator[Stream]:
    """A running feed."""
    looks = Looks()
    async with TaskQueue(TaskQueueConfig(), database=database, committer=committer) as queue:
        feed = EventFeed(database, queue, looks)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.run)
            yield Stream(database, feed, looks)
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def listening(
    stream: Stream, principal: Principal = LOCAL, wanted: Filter = SAGAS
) -> AsyncGenerator[Listener]:
    with stream.feed.listening(principal, wanted) as listener:
        await stream.look()
        yield listener


def heard(listener: Listener) -> list[int]:
    """Return the numbers of the events that wait for a listener."""
    return [
        event["cursor"] for text in listener.waiting for event in json.loads(text).get("events", [])
    ]


async def test_a_number_that_is_missing_for_a_moment_is_waited_for(stream: Stream) -> None:
    async with listening(stream) as listener:
        await stream.write(1, 3)
        await stream.look()
        assert heard(listener) == [1]
        await stream.write(2)
        await stream.look()
        assert heard(listener) == [1, 2, 3]


async def test_the_first_who_listens_does_not_miss_what_is_being_written(stream: Stream) -> None:
    await stream.write(1, 3)
    async with listening(stream) as listener:
        await stream.write(2)
        await stream.look()
        assert heard(listener) == [2, 3]


async def test_a_number_that_never_comes_is_not_waited_for_long(stream: Stream) -> None:
    async with listening(stream) as listener:
        await stream.write(1, 3)
        for _ in range(10):
            await stream.look()
        assert heard(listener) == [1, 3]


async def test_what_happened_before_is_not_told_but_what_comes_after_the_last_left(
    stream: Stream,
) -> None:
    await stream.write(1, 2)
    async with listening(stream):
        pass
    await stream.write(3)
    async with listening(stream) as listener:
        await stream.write(4)
        await stream.look()
        assert heard(listener)[-1] == 4
        assert 1 not in heard(listener)


async def test_each_hears_their_own_and_what_they_chose(stream: Stream) -> None:
    ann = Principal("ann", frozenset({"read"}))
    chosen = Filter(frozenset({"saga"}), frozenset({"saga_2"}))
    async with listening(stream, ann) as hers, listening(stream, wanted=chosen) as one:
        await stream.write(1, owner="ann")
        await stream.write(2, owner="bob")
        await stream.look()
        assert heard(hers) == [1]
        assert heard(one) == [2]


async def test_a_flood_is_not_told_one_by_one(stream: Stream) -> None:
    async with listening(stream) as listener:
        await stream.write(*range(1, MOST_AT_ONCE + 2))
        await stream.look()
        assert listener.behind
        assert (listener.waiting, listener.missed) == ([], MOST_AT_ONCE + 1)


async def test_a_listener_that_does_not_read_is_dropped_behind(stream: Stream) -> None:
    async with listening(stream) as listener:
        for number in range(1, 40):
            await stream.write(number)
            await stream.look()
        assert listener.behind
        assert (listener.waiting, listener.missed) == ([], 39)
