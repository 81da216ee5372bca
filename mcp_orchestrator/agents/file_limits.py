"""Limits that the processes of one host keep together in a small file, and that adapt.

The file is locked for the microseconds that it takes to read and write a line, where a transaction
of SQLite would cost each call milliseconds. It may be lost at any time: what it holds is worth a
minute.
"""

import fcntl
import os
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mcp_orchestrator.agents.bell import Bell
from mcp_orchestrator.agents.leases import renewed
from mcp_orchestrator.agents.limits import LimitSettings
from mcp_orchestrator.clock import Clock

T = TypeVar("T")


class _State(BaseModel):
    """What the processes know of one provider; moments are seconds since 1970."""

    allowed: float
    bucket: float
    refilled_at: float
    paused_until: float = 0.0
    #: When the slot of each call under way is free again, should its process have died.
    slots: dict[str, float] = {}


class FileLimits:
    """The limits of one provider; ``SharedLimits`` keeps them for several hosts.

    Args:
        file: where they are kept; made if need be, with its folder.
        clock: for leases, pauses and rates.
        settings: what the provider allows us.
    """

    def __init__(self, file: Path, clock: Clock, settings: LimitSettings | None = None) -> None:
        self._file = file
        self._clock = clock
        self._settings = settings or LimitSettings()
        self._bell = Bell(clock)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for room, and hold it for one attempt; leaving without an error is a success."""
        return self._slot()

    async def throttled(self, seconds: float | None) -> None:
        """Record a 429: allow half as much, and pause as the provider asked.

        Args:
            seconds: its ``Retry-After``; None where it sent none.
        """

        def change(state: _State, now: float) -> None:
            if now >= state.paused_until:  # one burst of refusals is one sign
                state.allowed = max(state.allowed / 2, 1.0)
            pause = self._settings.pause if seconds is None else seconds
            state.paused_until = max(state.paused_until, now + pause)

        self._change(change)

    async def allowed(self) -> float:
        """Return how many calls may be under way at once at present."""
        return self._change(lambda state, _: state.allowed)

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        slot_id, lease = uuid.uuid4().hex, self._settings.lease
        rung = self._bell.listen()
        while (wait := self._change(lambda state, now: self._take(state, now, slot_id))) > 0:
            await self._bell.wait(rung, wait)
            rung = self._bell.listen()

        async def renew() -> None:
            self._change(lambda state, now: state.slots.update({slot_id: now + lease}))

        succeeded = False
        try:
            async with renewed(renew, lease / 3, self._clock):
                yield
            succeeded = True
        finally:
            self._change(lambda state, now: self._leave(state, now, slot_id, succeeded=succeeded))
            self._bell.ring()

    def _take(self, state: _State, now: float, slot_id: str) -> float:
        """Take what a call needs and return 0, or the seconds after which to look again."""
        settings = self._settings
        if now < state.paused_until:
            return state.paused_until - now
        held = sum(expires > now for expires in state.slots.values())
        if held >= int(min(state.allowed, settings.concurrency)):
            return settings.poll
        if settings.per_minute is not None:
            state.bucket = settings.refilled(state.bucket, now - state.refilled_at)
            state.refilled_at = now
            if state.bucket < 1:
                return (1 - state.bucket) * 60 / settings.per_minute
            state.bucket -= 1
        state.slots[slot_id] = now + settings.lease
        return 0.0

    def _leave(self, state: _State, now: float, slot_id: str, *, succeeded: bool) -> None:
        state.slots.pop(slot_id, None)
        state.slots = {name: expires for name, expires in state.slots.items() if expires > now}
        if succeeded:
            most = float(self._settings.concurrency)
            state.allowed = min(state.allowed + 1 / state.allowed, most)

    def _change(self, change: Callable[[_State, float], T]) -> T:
        """Read, change and write the state while no other process does."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # freed by the kernel if we die
            now = self._clock.now().timestamp()
            state = self._read(descriptor, now)
            result = change(state, now)
            os.pwrite(descriptor, state.model_dump_json().encode() + b"\n", 0)
            return result
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, now: float) -> _State:
        """Return the state in the first line; behind it may be the rest of a longer one."""
        size = os.fstat(descriptor).st_size
        line = os.pread(descriptor, size, 0).partition(b"\n")[0]
        try:
            return _State.model_validate_json(line)
        except ValidationError:  # new, or not ours
            settings = self._settings
            return _State(
                allowed=settings.concurrency, bucket=settings.burst, refilled_at=now
            )  # fmt: skip
