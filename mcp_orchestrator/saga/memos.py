"""Memos: sub-operations of a step that never run again once they have returned."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import anyio
from pydantic import JsonValue

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.store.canonical import as_json

T = TypeVar("T")

#: The longest value of a memo, in characters of JSON.
LONGEST_MEMO = 1_000_000


class Memos:
    """The memos of one saga, in the process that runs it.

    Args:
        read: reads what is on disk, by name.
        record: writes one, with the progress of a step; both are on disk when it returns.
        fresh: whether nobody ran the saga before, so that there is nothing to read.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[dict[str, JsonValue]]],
        record: Callable[[str, JsonValue, JsonObject | None, int], Awaitable[None]],
        *,
        fresh: bool,
    ) -> None:
        self._read = read
        self._record = record
        self._known: dict[str, JsonValue] | None = {} if fresh else None
        self._loading = anyio.Lock()
        self._running: dict[str, anyio.Event] = {}

    async def run(
        self,
        name: str,
        fn: Callable[[], Awaitable[T]],
        *,
        step: int,
        tell: Callable[[T], JsonObject] | None = None,
    ) -> T:
        """Return what is known under a name, or run the operation and make it known.

        Args:
            name: unique within the saga.
            fn: the operation.
            step: the index of the step it happens in.
            tell: makes of a new result what is reported as that step's progress.

        Raises:
            InvalidInputError: the name is empty or too long, or the result is not JSON.
        """
        if not 0 < len(name) <= 200:
            raise InvalidInputError("A memo's name has 1 to 200 characters.")
        known = await self._load()
        while name in self._running:
            await self._running[name].wait()
        if name in known:
            return cast("T", known[name])
        done = self._running[name] = anyio.Event()
        try:
            value = as_json(await fn(), longest=LONGEST_MEMO)
            result = cast("T", value)  # JSON is read back as what it was
            await self._record(name, value, tell(result) if tell is not None else None, step)
            known[name] = value
            return result
        finally:
            del self._running[name]
            done.set()

    async def _load(self) -> dict[str, JsonValue]:
        async with self._loading:
            if self._known is None:
                self._known = await self._read()
            return self._known
