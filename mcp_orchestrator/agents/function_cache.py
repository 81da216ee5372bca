"""``@cached`` and ``@invalidates`` for functions of one's own, sync or async.

The answers live in this process, because a function's result may be anything. Concurrent calls
with the same arguments run the function once.
"""

import functools
import inspect
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast

import anyio

from mcp_orchestrator.agents.cache import CacheStatistics
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import InvalidInputError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Kept:
    value: object
    expires_at: float


@dataclass
class _Shelf:
    """What one function has answered, the longest unused first."""

    time_to_live: float
    kept: OrderedDict[Hashable, _Kept] = field(default_factory=OrderedDict[Hashable, _Kept])
    generation: int = 0


class FunctionCache:
    """Keeps what functions answered; one for a pack, or for whoever shares its bounds.

    Args:
        clock: for expiry.
        time_to_live: seconds an answer is good for.
        most: answers kept for one function at most; the longest unused go first.
    """

    def __init__(self, clock: Clock, *, time_to_live: float = 300.0, most: int = 1024) -> None:
        self.statistics = CacheStatistics()
        self._clock = clock
        self._time_to_live = time_to_live
        self._most = most
        self._shelves: dict[Callable[..., object], _Shelf] = {}
        self._lock = threading.RLock()

    def cached(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function so that equal arguments are answered once; its signature stays.

        Arguments have to be hashable. What raises is not kept.
        """
        return self.cached_for(self._time_to_live)(function)

    def cached_for(self, time_to_live: float) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate like ``cached`` a function whose answers are good for a time of its own.

        Args:
            time_to_live: seconds an answer is good for.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            shelf = _Shelf(time_to_live)
            wrapper = (
                self._cached_async(cast("Any", function), shelf)
                if inspect.iscoroutinefunction(function)
                else self._cached_sync(function, shelf)
            )
            self._shelves[wrapper] = shelf
            return cast("Callable[P, R]", wrapper)

        return decorate

    def invalidates(
        self, *cached: Callable[..., object]
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function so that its success empties the caches of others.

        Args:
            cached: functions decorated by ``cached`` of the same cache; none means all.

        Raises:
            InvalidInputError: one of them was not.
        """
        for function in cached:
            if function not in self._shelves:
                raise InvalidInputError(
                    f"{getattr(function, '__qualname__', function)} is not cached here.",
                    remedy="Decorate it with the same cache's `cached` first.",
                )

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if inspect.iscoroutinefunction(function):
                ask = cast("Callable[P, Awaitable[object]]", function)

                @functools.wraps(function)
                async def ask_and_forget(*args: P.args, **kwargs: P.kwargs) -> object:
                    result = await ask(*args, **kwargs)
                    self.forget(*cached)
                    return result

                return cast("Callable[P, R]", ask_and_forget)

            @functools.wraps(function)
            def call_and_forget(*args: P.args, **kwargs: P.kwargs) -> R:
                result = function(*args, **kwargs)
                self.forget(*cached)
                return result

            return call_and_forget

        return decorate

    def forget(self, *cached: Callable[..., object]) -> None:
        """Empty the caches of some functions, or of all; what is being computed is not kept."""
        with self._lock:
            for function in cached or tuple(self._shelves):
                shelf = self._shelves[function]
                shelf.kept.clear()
                shelf.generation += 1

    def _cached_sync(self, function: Callable[P, R], shelf: _Shelf) -> Callable[P, R]:
        running: dict[Hashable, threading.RLock] = {}

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            key = _key(function, args, kwargs)
            found = self._look(shelf, key)
            if found is None:
                with running.setdefault(key, threading.RLock()):
                    found = self._look(shelf, key)
                    if found is None:
                        self.statistics.misses += 1
                        generation = shelf.generation
                        try:
                            value = function(*args, **kwargs)
                            self._keep(shelf, key, value, generation)
                        finally:
                            running.pop(key, None)
                        return value
            self.statistics.hits += 1
            return cast("R", found.value)

        return wrapper

    def _cached_async(
        self, function: Callable[P, Coroutine[Any, Any, R]], shelf: _Shelf
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        flights: dict[Hashable, anyio.Event] = {}

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            key = _key(function, args, kwargs)
            while True:
                found = self._look(shelf, key)
                if found is not None:
                    self.statistics.hits += 1
                    return cast("R", found.value)
                landed = flights.get(key)
                if landed is None:
                    break
                await landed.wait()
            landed = flights[key] = anyio.Event()
            generation = shelf.generation
            try:
                self.statistics.misses += 1
                value = await function(*args, **kwargs)
                self._keep(shelf, key, value, generation)
            finally:
                del flights[key]
                landed.set()
            return value

        return wrapper

    def _look(self, shelf: _Shelf, key: Hashable) -> _Kept | None:
        with self._lock:
            found = shelf.kept.get(key)
            if found is None:
                return None
            if found.expires_at <= self._clock.monotonic():
                del shelf.kept[key]
                return None
            shelf.kept.move_to_end(key)
            return found

    def _keep(self, shelf: _Shelf, key: Hashable, value: object, generation: int) -> None:
        kept = _Kept(value, self._clock.monotonic() + shelf.time_to_live)
        with self._lock:
            if generation == shelf.generation:  # else it was computed from what has changed since
                shelf.kept[key] = kept
                while len(shelf.kept) > self._most:
                    shelf.kept.popitem(last=False)


def _key(
    function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> Hashable:
    """Return what makes two calls the same; the types count, so that 1 is not True."""
    key = (args, tuple(sorted(kwargs.items())), tuple(type(value) for value in args))
    try:
        hash(key)
    except TypeError as error:
        raise InvalidInputError(
            f"{function.__qualname__} is cached and was given something unhashable.",
            remedy="Pass tuples, strings and numbers, or do not cache it.",
        ) from error
    return key
