"""The queue's pure parts: back-off, message ids, encoding, coalescing, failures."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_orchestrator.errors import (
    BackendUnavailableError,
    ConfigurationError,
    InvalidInputError,
    LimitExceededError,
    ProviderRejectedError,
    StaleLeaseError,
)
from mcp_orchestrator.queue import Backoff, RetryLater, Task, TaskPriority, failure
from mcp_orchestrator.queue.coalesce import Coalescer
from mcp_orchestrator.queue.encoding import encode_json, from_micros, to_micros, unique_key
from mcp_orchestrator.queue.lease import Delivery, Lease
from mcp_orchestrator.queue.redis_streams.connection import RedisConnection
from mcp_orchestrator.queue.run import Run
from mcp_orchestrator.queue.task import FINAL, TRANSITIONS, TaskStatus

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)  # fmt: skip


@given(
    attempt=st.integers(0, 10_000),
    base=st.floats(0.001, 100),
    cap=st.floats(0.001, 10_000),
    seed=st.integers(0, 100),
)
def test_back_off_stays_within_its_bounds(attempt: int, base: float, cap: float, seed: int) -> None:
    backoff = Backoff(base, cap, random.Random(seed))
    assert 0 <= backoff.delay(attempt) <= backoff.bound(attempt) <= cap
    assert backoff.bound(attempt) <= backoff.bound(attempt + 1)
    assert backoff.delay(attempt, retry_after=cap + 5) == cap + 5


def test_back_off_doubles_until_the_cap() -> None:
    backoff = Backoff(1.0, 300.0)
    assert [backoff.bound(n) for n in (1, 2, 3, 8, 9, 10_000)] == [2, 4, 8, 256, 300, 300]


@given(st.text(min_size=1), st.integers(0, 2**60))
def test_message_ids_can_be_read_back(task_id: str, epoch: int) -> None:
    lease = Lease(task_id, epoch)
    assert Lease.parse(lease.message_id) == lease


@pytest.mark.parametrize("text", ["", "x", ":", ":1", "a:", "a:b", "a:-1", "a:²"])
def test_other_texts_are_no_message_ids(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Lease.parse(text)


@given(JSON)
def test_json_is_encoded_within_its_bound(value: object) -> None:
    text = encode_json(value, what="payload", limit=1_000_000)
    assert json.loads(text) == value
    size = len(text.encode())
    assert encode_json(value, what="payload", limit=size) == text
    with pytest.raises(LimitExceededError):
        encode_json(value, what="payload", limit=size - 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\ud800", b"x", object()])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError):
        encode_json(value, what="payload", limit=100)


@given(st.floats(3e7, 7e9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_moments_keep_their_microseconds(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment
    assert int(float(to_micros(moment))) == to_micros(moment)  # Lua's only number is a float


@given(st.lists(st.tuples(st.none() | st.text(), st.text()), min_size=2, max_size=2, unique=True))
def test_owners_do_not_share_keys(pair: list[tuple[str | None, str]]) -> None:
    assert unique_key(*pair[0]) != unique_key(*pair[1])


def test_every_status_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(TaskStatus)
    assert all(status in FINAL for status, onward in TRANSITIONS.items() if not onward)
    reachable = set[TaskStatus]().union(*TRANSITIONS.values()) | {TaskStatus.SCHEDULED}
    assert reachable == set(TaskStatus)


def test_failures_are_judged() -> None:
    assert failure.is_permanent(ProviderRejectedError("no", provider="x"))
    assert not failure.is_permanent(ValueError("no"))
    assert failure.retry_after(RetryLater("busy", after=3)) == 3
    assert failure.retry_after(RetryLater("busy")) is None
    assert failure.retry_after(ValueError("no")) is None
    assert failure.summary(ValueError("x" * 5000)).startswith("ValueError: xxx")
    assert len(failure.summary("x" * 5000)) == 2000


async def test_items_of_one_moment_travel_together() -> None:
    groups: list[list[int]] = []
    gate = anyio.Event()

    async def flush(items: Sequence[int]) -> list[int]:
        groups.append(list(items))
        await gate.wait()
        return [item * 2 for item in items]

    coalescer = Coalescer[int, int](flush, largest_group=4)
    results: dict[int, int] = {}

    async def submit(item: int) -> None:
        results[item] = await coalescer.submit(item)

    async with anyio.create_task_group() as group:
        for item in range(3):
            group.start_soon(submit, item)
        await anyio.wait_all_tasks_blocked()
        for item in range(3, 9):
            group.start_soon(submit, item)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert groups == [[0, 1, 2], [3, 4, 5, 6], [7, 8]]
    assert results == {item: item * 2 for item in range(9)}
    assert await coalescer.submit(9) == 18


async def test_a_refused_item_fails_alone_and_a_failed_flush_fails_all() -> None:
    async def flush(items: Sequence[int]) -> list[StaleLeaseError | None]:
        if 13 in items:
            raise BackendUnavailableError("away")
        return [StaleLeaseError("late") if item == 2 else None for item in items]

    coalescer = Coalescer[int, StaleLeaseError | None](flush, largest_group=3)
    outcomes: dict[int, str] = {}

    async def submit(item: int) -> None:
        try:
            await coalescer.submit(item)
            outcomes[item] = "ok"
        except (StaleLeaseError, BackendUnavailableError) as error:
            outcomes[item] = error.code

    async with anyio.create_task_group() as group:
        for item in (1, 2, 3, 13, 14, 15, 16):
            group.start_soon(submit, item)
    assert outcomes == {
        1: "ok", 2: "stale_lease", 3: "ok", 13: "backend_unavailable",
        14: "backend_unavailable", 15: "backend_unavailable", 16: "ok",
    }  # fmt: skip


async def test_a_cancelled_caller_leaves_the_others_their_leader() -> None:
    gate = anyio.Event()

    async def flush(items: Sequence[int]) -> Sequence[int]:
        await gate.wait()
        return items

    coalescer = Coalescer[int, int](flush, largest_group=1)
    results: list[int] = []

    async def submit(item: int, scope: anyio.CancelScope) -> None:
        with scope:
            results.append(await coalescer.submit(item))

    scopes = [anyio.CancelScope() for _ in range(3)]
    async with anyio.create_task_group() as group:
        for item, scope in enumerate(scopes):
            group.start_soon(submit, item, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        scopes[1].cancel()
        gate.set()
    assert 2 in results
    assert await coalescer.submit(7) == 7


@pytest.mark.parametrize(
    "url", ["http://x", "redis", "redis+sentinel://", "redis+sentinel://h:1", "redis://h:port"]
)
def test_a_bad_redis_url_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        RedisConnection(url, "{x}")


@pytest.mark.parametrize(
    ("priority", "preemptible", "allowed"),
    [
        (TaskPriority.NORMAL, True, True),
        (TaskPriority.NORMAL, False, False),
        (TaskPriority.CRITICAL, True, False),
    ],
)
async def test_only_a_run_that_goes_on_can_be_preempted_and_once(
    priority: TaskPriority, preemptible: bool, allowed: bool
) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    task = Task(
        "task_1", "t", {}, priority, TaskStatus.PROCESSING, 1, 3, None, None, None, now, now,
        preemptible=preemptible,
    )  # fmt: skip
    run = Run(Delivery(Lease("task_1", 1), task))
    assert not run.can_be_preempted  # it has not begun
    run.scope = anyio.CancelScope()
    assert run.can_be_preempted == allowed
    run.scope = None
    assert not run.can_be_preempted  # it waits to be recorded: that gives no room
    run.scope = anyio.CancelScope()
    run.preempt()
    assert not run.can_be_preempted
