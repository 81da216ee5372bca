"""The decorators that keep what functions answered."""

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from mcp_orchestrator.agents.function_cache import FunctionCache
from mcp_orchestrator.errors import InvalidInputError
from tests.services.skipping_clock import SkippingClock


@pytest.fixture
def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture
def cache(clock: SkippingClock) -> FunctionCache:
    return FunctionCache(clock, time_to_live=60, most=3)


def test_equal_arguments_are_answered_once_until_they_expire(
    cache: FunctionCache, clock: SkippingClock
) -> None:
    calls: list[int] = []

    @cache.cached
    def double(value: int, *, times: int = 2) -> int:
        """Multiply."""
        calls.append(value)
        return value * times

    assert [double(2), double(2), double(2, times=3), double(3)] == [4, 4, 6, 6]
    assert calls == [2, 2, 3]
    clock.seconds += 60
    assert double(2) == 4
    assert calls == [2, 2, 3, 2]
    assert double.__doc__ == "Multiply."
    assert str(inspect.signature(double)) == "(value: int, *, times: int = 2) -> int"
    assert cache.statistics.hit_rate == 1 / 5


def test_the_longest_unused_make_room_and_true_is_not_one(cache: FunctionCache) -> None:
    calls: list[object] = []

    @cache.cached
    def same(value: object) -> object:
        calls.append(value)
        return value

    for value in (1, 2, 3, 1, 4, 1, 2):
        same(value)
    assert calls == [1, 2, 3, 4, 2]
    assert same(True) is True


async def test_concurrent_calls_run_an_async_function_once(cache: FunctionCache) -> None:
    calls, release = 0, anyio.Event()

    @cache.cached
    async def fetch(name: str) -> str:
        nonlocal calls
        calls += 1
        await release.wait()
        return name.upper()

    found: list[str] = []

    async def ask() -> None:
        found.append(await fetch("a"))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert found == ["A"] * 50
    assert calls == 1
    assert inspect.iscoroutinefunction(fetch)


def test_concurrent_threads_run_a_function_once(cache: FunctionCache) -> None:
    calls: list[int] = []
    barrier = threading.Barrier(8)

    @cache.cached
    def slow(value: int) -> int:
        calls.append(value)
        return value

    def ask(_: int) -> int:
        barrier.wait()
        return slow(1)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [1] * 8
    assert calls == [1]


async def test_what_raises_or_is_cancelled_is_not_kept(cache: FunctionCache) -> None:
    calls = 0

    @cache.cached
    async def fetch() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError
        if calls == 2:
            await anyio.sleep_forever()
        return calls

    with pytest.raises(ValueError):  # noqa: PT011
        await fetch()
    with anyio.move_on_after(0.01):
        await fetch()
    assert [await fetch(), await fetch()] == [3, 3]


async def test_success_invalidates_and_what_was_under_way_is_not_kept(
    cache: FunctionCache,
) -> None:
    value, reading, go_on = 1, anyio.Event(), anyio.Event()

    @cache.cached
    async def read() -> int:
        seen = value
        reading.set()
        await go_on.wait()
        return seen

    @cache.invalidates(read)
    async def write(new: int) -> None:
        nonlocal value
        if new < 0:
            raise ValueError
        value = new

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await reading.wait()
        await write(2)
        go_on.set()
    assert await read() == 2, "what was read before the write must not be served after it"
    with pytest.raises(ValueError):  # noqa: PT011
        await write(-1)
    assert await read() == 2
    assert cache.statistics.hits == 1

    @cache.invalidates()
    def write_sync(new: int) -> int:
        nonlocal value
        value = new
        return new

    assert write_sync(3) == 3
    assert await read() == 3


def test_bad_input(cache: FunctionCache) -> None:
    @cache.cached
    def size(values: list[int]) -> int:
        return len(values)

    with pytest.raises(InvalidInputError, match=r"size is cached .* unhashable"):
        size([1])
    with pytest.raises(InvalidInputError, match="not cached here"):
        cache.invalidates(len)
