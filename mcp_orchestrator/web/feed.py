"""The one event stream: what all replicas write, read once for all listeners of this process.

The audit trail in the store is where every server and worker meets, and its numbers are the cursor.
A feed looks at it while anybody listens; what is new is given to each listener whose filter and
whose principal may see it. A listener that does not keep up, or more than ``MOST_AT_ONCE`` events
at a time, makes it fall back to a snapshot of how things stand.
"""

import json
import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Final

import anyio
from pydantic import JsonValue

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.queue import TaskQueue
from mcp_orchestrator.server.auth.principal import Principal
from mcp_orchestrator.server.toolsets.queue_views import view_stats
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.event_stream import StreamedEvent, events_after, last_number

_log = logging.getLogger(__name__)
#: How often the store is looked at while somebody listens, in seconds.
_LOOK_EVERY: Final = 0.25
#: And while more than so many listen.
_LOOK_EVERY_FOR_CROWDS: Final = 0.5
_CROWD: Final = 100
#: At every so many looks the queue is looked at too.
_QUEUE_LOOKS: Final = 4
#: How long a missing number is waited for, in looks: its transaction may not be committed yet.
_PATIENCE: Final = 8
#: How far back, and how long ago, a number may be missing that still comes.
_RECENT: Final = 100
_YOUNG: Final = timedelta(seconds=10)
#: More events at a time, or more for all listeners together, are not sent one by one.
MOST_AT_ONCE: Final = 200
_MOST_TOGETHER: Final = 20_000
#: Messages that may wait for one listener.
_MOST_WAITING: Final = 16

Json = dict[str, JsonValue]


@dataclass(frozen=True)
class Filter:
    """What a listener wants to hear of.

    Attributes:
        kinds: ``saga`` and ``queue``.
        ids: only of these sagas; of all for none.
    """

    kinds: frozenset[str]
    ids: frozenset[str] = frozenset()


@dataclass(eq=False)
class Listener:
    """One who listens.

    Attributes:
        principal: who, which decides what may be heard.
        filter: what is wanted.
        waiting: the messages that have not been sent yet.
        behind: whether there were more than may wait; a snapshot stands for what was dropped.
        missed: the number of the last event that was dropped.
        news: set when there is something to send.
    """

    principal: Principal
    filter: Filter
    waiting: list[str] = field(default_factory=list[str])
    behind: bool = False
    missed: int = 0
    news: anyio.Event = field(default_factory=anyio.Event)

    def tell(self, message: str, cursor: int) -> None:
        """Put a message, of events up to a cursor, behind those that wait."""
        if not self.behind:
            self.waiting.append(message)
            if len(self.waiting) > _MOST_WAITING:
                self.fall_behind(cursor)
        else:
            self.missed = cursor
        self.news.set()

    def fall_behind(self, cursor: int) -> None:
        """Drop what waits: the listener is to be told how things stand instead."""
        self.missed = cursor
        self.waiting.clear()
        self.behind = True
        self.news.set()

    def hears(self, event: StreamedEvent) -> bool:
        """Tell whether an event is wanted, and may be seen."""
        if self.filter.ids and event.saga_id not in self.filter.ids:
            return False
        return self.principal.sees(event.owner)

    @property
    def group(self) -> tuple[frozenset[str], str | None]:
        """What listeners that hear the same have in common."""
        return self.filter.ids, None if self.principal.sees_all else self.principal.name or ""


class EventFeed:
    """Reads what is new, for all listeners of this process.

    Args:
        database: the store.
        queue: the queue.
        clock: the time.
    """

    def __init__(self, database: Database, queue: TaskQueue, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        self._listeners: set[Listener] = set()
        self._wanted = anyio.Event()
        self._position = 0
        self._looks_at_gap = 0
        self._queue_text = ""

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @property
    def position(self) -> int:
        """The number of the last event that was given out."""
        return self._position

    @contextmanager
    def listening(self, principal: Principal, wanted: Filter) -> Generator[Listener]:
        """Hear what happens for the length of a block."""
        listener = Listener(principal, wanted)
        self._listeners.add(listener)
        self._wanted.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def catch_up(self) -> int:
        """Return the number of the latest event that has been given out, or may be skipped."""
        if len(self._listeners) <= 1 or self._position == 0:
            async with self._database.read() as connection:
                start = max(await last_number(connection) - _RECENT, 0)
                recent = await events_after(connection, start, 2 * _RECENT)
            self._position = max(self._position, self._settled(recent))
        return self._position

    def _settled(self, recent: Sequence[StreamedEvent]) -> int:
        """Return the last number before one that is missing, and may still come."""
        young = self._clock.now() - _YOUNG
        for before, after in pairwise(recent):
            if after.number != before.number + 1 and after.at > young:
                return before.number
        return recent[-1].number if recent else 0

    async def run(self) -> None:
        """Look at the store while anybody listens, until cancelled."""
        look = 0
        while True:
            if not self._listeners:
                self._wanted = anyio.Event()
                await self._wanted.wait()
                await self.catch_up()
            try:
                await self._look_at_sagas()
                if look % _QUEUE_LOOKS == 0:
                    await self._look_at_queue()
            except Exception as error:  # the store may be back at the next look
                _log.warning("the event stream could not be read; trying again: %s", error)
            look += 1
            crowded = len(self._listeners) > _CROWD
            await self._clock.sleep(_LOOK_EVERY_FOR_CROWDS if crowded else _LOOK_EVERY)

    async def _look_at_sagas(self) -> None:
        most = max(1, min(MOST_AT_ONCE, _MOST_TOGETHER // max(len(self._listeners), 1)))
        async with self._database.read() as connection:
            found = await events_after(connection, self._position, most + 1)
            if len(found) > most:
                self._position = await last_number(connection)
        if len(found) > most:
            self._looks_at_gap = 0
            for listener in self._listeners:
                if "saga" in listener.filter.kinds:
                    listener.fall_behind(self._position)
            return
        ready = self._without_gaps(found)
        if ready:
            self._position = ready[-1].number
            self._give_out(ready)

    def _without_gaps(self, found: Sequence[StreamedEvent]) -> Sequence[StreamedEvent]:
        """Return the events up to the first number that is missing, and not for long."""
        for index, event in enumerate(found):
            if event.number != self._position + 1 + index:
                self._looks_at_gap += 1
                if self._looks_at_gap > _PATIENCE:  # its transaction was rolled back
                    break
                return found[:index]
        self._looks_at_gap = 0
        return found

    def _give_out(self, events: Sequence[StreamedEvent]) -> None:
        made: dict[object, str] = {}
        for listener in self._listeners:
            if "saga" not in listener.filter.kinds:
                continue
            group = listener.group
            if group not in made:
                heard = [event for event in events if listener.hears(event)]
                made[group] = events_message(heard, self._position) if heard else ""
            if made[group]:
                listener.tell(made[group], self._position)

    async def _look_at_queue(self) -> None:
        if not any("queue" in listener.filter.kinds for listener in self._listeners):
            return
        text = _text({"type": "queue", "cursor": self._position, "queue": await self.queue()})
        told = text.partition('"queue":')[2]
        if told == self._queue_text:
            return
        self._queue_text = told
        for listener in self._listeners:
            if "queue" in listener.filter.kinds:
                listener.tell(text, self._position)

    async def queue(self) -> JsonValue:
        """Return the counts of the queue, without ids and ages: those everybody may see."""
        stats = view_stats(await self._queue.stats())
        return {
            "waiting": {one.priority: one.waiting for one in stats.by_priority},
            "by_status": dict(stats.by_status),
            "workers": len(stats.workers),
        }

    async def since(self, cursor: int) -> Sequence[StreamedEvent] | None:
        """Return the events after a cursor up to the position; None where there are too many."""
        async with self._database.read() as connection:
            found = await events_after(connection, cursor, MOST_AT_ONCE + 1)
        if len(found) > MOST_AT_ONCE:
            return None
        return [event for event in found if event.number <= self._position]


def events_message(events: Sequence[StreamedEvent], cursor: int) -> str:
    """Return the message that tells of some events."""
    told: list[JsonValue] = [
        {
            "kind": "saga",
            "id": event.saga_id,
            "event": event.event,
            "step": event.step,
            "state": event.state,
            "at": event.at.isoformat(timespec="milliseconds"),
            "cursor": event.number,
        }
        for event in events
    ]
    return _text({"type": "events", "cursor": cursor, "events": told})


def _text(message: Mapping[str, JsonValue]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
