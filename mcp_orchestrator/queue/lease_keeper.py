"""The thread that keeps leases alive.

It has an event loop and a connection of its own, so that a handler which blocks the main event
loop keeps its task. Whoever stops the whole process (SIGSTOP, a machine that sleeps) stops this
thread too; the task is then taken over and the late outcome refused by its epoch.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import anyio
from anyio import to_thread

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.queue.lease import Lease
from mcp_orchestrator.queue.port import (
    Heartbeat,
    HeartbeatReply,
    LeaseRenewer,
    QueueBackend,
    WorkerInfo,
)

_log = logging.getLogger(__name__)
#: Beats in one lease: two may fail before the lease ends.
_BEATS_PER_LEASE = 3
#: Workers that have been silent for so many leases are forgotten.
_FORGET_AFTER_LEASES = 10


@dataclass(frozen=True, slots=True)
class _Registered:
    describe: Callable[[], WorkerInfo]
    on_lost: Callable[[Lease], None]
    on_cancel: Callable[[Lease], None]


class LeaseKeeper:
    """Renews every lease of a process.

    Args:
        backend: whose renewer to use.
        lease_seconds: how long a lease lasts.
        clock: the source of time.
    """

    def __init__(self, backend: QueueBackend, *, lease_seconds: float, clock: Clock) -> None:
        self._backend = backend
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: set[Lease] = set()
        self._workers: dict[str, _Registered] = {}
        self._gone: list[str] = []
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._main_loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread, once; call it from the main event loop."""
        if self._thread is not None:
            return
        self._main_loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Say farewell for the workers and end the thread."""
        self._stopping = True
        self._beat_now()
        if self._thread is not None:
            await to_thread.run_sync(self._thread.join)
            self._thread = self._own_loop = None
        self._stopping = False

    def hold(self, leases: Iterable[Lease]) -> None:
        """Renew leases from now on."""
        with self._lock:
            self._held.update(leases)

    def release(self, leases: Iterable[Lease]) -> None:
        """Renew leases no more."""
        with self._lock:
            self._held.difference_update(leases)

    def register(
        self,
        worker_id: str,
        describe: Callable[[], WorkerInfo],
        *,
        on_lost: Callable[[Lease], None],
        on_cancel: Callable[[Lease], None],
    ) -> None:
        """Record a worker with every beat, the first of them now.

        Args:
            worker_id: its name.
            describe: what to record.
            on_lost: called, in the main event loop, with each lease of this process that somebody
                else has taken over.
            on_cancel: likewise, with each whose task is to be cancelled.
        """
        with self._lock:
            self._workers[worker_id] = _Registered(describe, on_lost, on_cancel)
        self._beat_now()

    def unregister(self, worker_id: str) -> None:
        """Record a worker no more."""
        with self._lock:
            self._workers.pop(worker_id, None)
            self._gone.append(worker_id)
        self._beat_now()

    def _beat_now(self) -> None:
        loop, wake = self._own_loop, self._wake
        if loop is not None and wake is not None and not loop.is_closed():
            loop.call_soon_threadsafe(wake.set)

    def _run(self) -> None:
        anyio.run(self._keep, backend="asyncio")

    async def _keep(self) -> None:
        self._wake = asyncio.Event()
        self._own_loop = asyncio.get_running_loop()
        between_beats = self._lease_seconds / _BEATS_PER_LEASE
        pause = 0.0 if self._workers else between_beats  # a fresh lease needs no renewal yet
        while not self._stopping:
            try:
                async with self._backend.renewer() as renewer:
                    while not self._stopping:
                        await self._rest(pause)
                        await self._beat(renewer)
                        pause = between_beats
                    if self._gone:  # a worker that left during the last beat
                        await self._beat(renewer)
            except Exception:  # a keeper that died would lose every lease; it tries again
                _log.warning("Leases could not be renewed; trying again.", exc_info=True)
                pause = self._lease_seconds / (_BEATS_PER_LEASE * 4)
                await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        wake = self._wake
        if wake is None or self._stopping:
            return
        with anyio.move_on_after(seconds):
            await wake.wait()
        wake.clear()

    async def _beat(self, renewer: LeaseRenewer) -> None:
        with self._lock:
            leases = tuple(self._held)
            workers = tuple(worker.describe() for worker in self._workers.values())
            gone, self._gone = self._gone, []
        now = self._clock.now()
        if leases or workers:
            until = now + timedelta(seconds=self._lease_seconds)
            self._pass_on(await renewer.renew(Heartbeat(leases, workers, now, until)))
        long_ago = now - timedelta(seconds=self._lease_seconds * _FORGET_AFTER_LEASES)
        for worker_id in gone:
            await renewer.forget(worker_id, long_ago)

    def _pass_on(self, reply: HeartbeatReply) -> None:
        """Tell the holders, in their own event loop."""
        loop = self._main_loop
        if loop is None or loop.is_closed():
            return
        with self._lock:
            workers = tuple(self._workers.values())
            lost = [lease for lease in reply.lost if lease in self._held]
            cancelled = [lease for lease in reply.cancelled if lease in self._held]
        for worker in workers:
            for lease in lost:
                loop.call_soon_threadsafe(worker.on_lost, lease)
            for lease in cancelled:
                loop.call_soon_threadsafe(worker.on_cancel, lease)
