"""Signals and schedules, with tasks going to every back end of the queue."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from mcp_orchestrator.errors import InvalidInputError, NotFoundError
from mcp_orchestrator.queue import TaskPriority, TaskQueue
from mcp_orchestrator.queue.schedule import Schedule, Scheduler
from mcp_orchestrator.queue.signals import (
    SignalRouter,
    SignalRule,
    SignalSaga,
    SignalStatus,
    StartSaga,
    StartTask,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database, open_engine, sqlite_url
from mcp_orchestrator.store.migrations import migrate
from tests.services.queue_place import HandClock, Place

Payload = dict[str, JsonValue]


@dataclass
class Sagas:
    """Sagas at the other end of the interface."""

    started: dict[str, tuple[Payload, Payload]] = field(
        default_factory=dict[str, tuple[Payload, Payload]]
    )
    signalled: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def start_saga(
        self, definition: Payload, payload: Payload, *, key: str, owner: str | None
    ) -> str:
        self.started.setdefault(key, (definition, payload))
        return f"saga of {key}"

    async def signal_saga(
        self, saga_id: str, signal: str, payload: Payload, *, key: str, owner: str | None
    ) -> None:
        if saga_id == "gone":
            raise NotFoundError("There is no such saga.")
        self.signalled.append((saga_id, signal))


@dataclass
class Station:
    queue: TaskQueue
    clock: HandClock
    database: Database
    committer: GroupCommitter
    sagas: Sagas = field(default_factory=Sagas)

    def router(self) -> SignalRouter:
        return SignalRouter(
            self.queue, self.database, self.committer, sagas=self.sagas, clock=self.clock
        )

    def scheduler(self) -> Scheduler:
        return Scheduler(self.queue, self.database, self.committer, clock=self.clock)


@pytest.fixture
async def station(place: Place[HandClock], tmp_path: Path) -> AsyncIterator[Station]:
    async with (
        database_of(place, tmp_path) as database,
        GroupCommitter(database) as committer,
    ):
        yield Station(await place.queue(), place.clock, database, committer)


@asynccontextmanager
async def database_of(place: Place[HandClock], folder: Path) -> AsyncGenerator[Database]:
    """Give the place's own database, or one beside Redis."""
    if place.database is not None:
        yield place.database
        return
    beside = open_engine(sqlite_url(folder / "beside.db"))
    await migrate(beside)
    yield beside
    await beside.close()


async def test_a_signal_starts_what_its_rules_say_once(station: Station) -> None:
    router = station.router()
    await router.add_rule(
        SignalRule(
            name="ship", pattern="order.*", where={"order.country": ["CH", "DE"]},
            target=StartTask(task_type="ship", priority="HIGH"),
        )
    )  # fmt: skip
    await router.add_rule(
        SignalRule(name="book", pattern="order.paid", target=StartSaga(definition={"name": "b"}))
    )
    payload: Payload = {"order": {"country": "CH"}}
    signal = await router.publish("order.paid", payload, signal_id="s1", owner="ann")
    again = await router.publish("order.paid", payload, signal_id="s1", owner="ann")
    assert again == signal
    assert signal.status is SignalStatus.ROUTED
    assert {outcome.rule: outcome.kind for outcome in signal.outcomes} == {
        "ship": "task", "book": "saga",
    }  # fmt: skip
    tasks = await station.queue.list_tasks()
    assert [(t.task_type, t.priority, t.payload, t.owner) for t in tasks] == [
        ("ship", TaskPriority.HIGH, payload, "ann")
    ]
    assert list(station.sagas.started.values()) == [({"name": "b"}, payload)]


async def test_what_no_rule_wants_is_kept_and_can_be_routed_later(station: Station) -> None:
    router = station.router()
    lonely = await router.publish("parcel.lost", {"n": 1})
    assert lonely.status is SignalStatus.UNROUTED
    assert [one.signal_id for one in await router.list_unrouted()] == [lonely.signal_id]
    await router.add_rule(
        SignalRule(name="look", pattern="parcel.*", target=StartTask(task_type="look"))
    )
    routed = await router.route_again(lonely.signal_id)
    assert routed.status is SignalStatus.ROUTED
    assert await router.list_unrouted() == []
    await router.remove_rule("look")
    assert await router.list_rules() == []
    with pytest.raises(NotFoundError):
        await router.remove_rule("look")


async def test_a_target_that_fails_does_not_keep_others_from_starting(station: Station) -> None:
    router = station.router()
    await router.add_rule(SignalRule(name="a", pattern="*", target=SignalSaga(signal="go")))
    await router.add_rule(SignalRule(name="b", pattern="*", target=StartTask(task_type="t")))
    failed = await router.publish("x", {"saga_id": "gone"}, signal_id="s")
    assert failed.status is SignalStatus.FAILED
    assert [outcome.error is None for outcome in failed.outcomes] == [False, True]
    await router.publish("x", {"saga_id": "there"})
    assert station.sagas.signalled == [("there", "go")]
    await router.route_again("s")
    assert len(await station.queue.list_tasks()) == 2  # b's task of "s" was not added again


@pytest.mark.parametrize(
    ("pattern", "where", "payload", "expected"),
    [
        ("a.?", {}, {}, True),
        ("A.*", {}, {}, False),
        ("*", {"n": 1}, {"n": True}, False),
        ("*", {"n": [1, 2]}, {"n": 2}, True),
        ("*", {"x.y": None}, {"x": 3}, True),
        ("*", {"x.y": "z"}, {"x": {"y": "z"}}, True),
    ],
)
def test_which_rules_match(pattern: str, where: Payload, payload: Payload, expected: bool) -> None:
    rule = SignalRule(name="r", pattern=pattern, where=where, target=StartTask(task_type="t"))
    assert rule.matches("a.b", payload) is expected


async def test_a_schedule_fires_once_however_many_watch(station: Station) -> None:
    schedulers = [station.scheduler() for _ in range(5)]
    first = await schedulers[0].add(Schedule(name="early", cron="*/5 * * * *", task_type="report"))
    assert first == datetime(2030, 1, 1, 0, 5, tzinfo=UTC)
    assert await schedulers[1].fire_due() == 0

    async def watch() -> None:
        async with anyio.create_task_group() as group:
            for scheduler in schedulers:
                group.start_soon(scheduler.fire_due)

    station.clock.advance(300)
    await watch()
    assert len(await station.queue.list_tasks()) == 1
    station.clock.advance(3600)  # nobody watched for an hour: one task, not twelve
    await watch()
    assert len(await station.queue.list_tasks()) == 2
    [(schedule, next_at)] = await schedulers[0].list_schedules()
    assert (schedule.name, next_at) == ("early", datetime(2030, 1, 1, 1, 10, tzinfo=UTC))
    await schedulers[0].remove("early")
    station.clock.advance(3600)
    assert await schedulers[0].fire_due() == 0


async def test_bad_schedules_are_refused(station: Station) -> None:
    for cron, timezone in (("every day", "UTC"), ("61 * * * *", "UTC"), ("0 6 * * *", "Mars")):
        with pytest.raises(InvalidInputError):
            await station.scheduler().add(
                Schedule(name="s", cron=cron, task_type="t", timezone=timezone)
            )


def test_a_schedule_follows_the_clock_of_its_time_zone() -> None:
    schedule = Schedule(name="s", cron="0 6 * * *", task_type="t", timezone="Europe/Zurich")
    winter = schedule.next_after(datetime(2030, 1, 1, tzinfo=UTC))
    summer = schedule.next_after(datetime(2030, 7, 1, tzinfo=UTC))
    assert (winter.astimezone(UTC).hour, summer.astimezone(UTC).hour) == (5, 4)
