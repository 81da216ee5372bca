"""Records how runs ended: all that end in the same moment travel together."""

import logging
from collections.abc import Callable, Sequence

import anyio

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import BackendUnavailableError
from mcp_orchestrator.queue.port import AWAY_PAUSE, Settlement
from mcp_orchestrator.queue.run import Run
from mcp_orchestrator.queue.task_queue import TaskQueue

_log = logging.getLogger(__name__)


class Recorder:
    """Takes the ends of runs and writes them down, one group at a time.

    A slot hands an end over and goes on with the next run; nothing is made, scheduled or awaited
    for each task, which is most of what recording one by one costs.

    Args:
        queue: where to write.
        clock: the source of time.
        recorded: called with each run whose end has been recorded, refused or given up.
    """

    def __init__(self, queue: TaskQueue, clock: Clock, recorded: Callable[[Run], None]) -> None:
        self._queue = queue
        self._clock = clock
        self._recorded = recorded
        self._waiting: list[tuple[Run, Settlement | None]] = []
        self._wake = anyio.Event()
        self._finishing = False
        self._pausing = anyio.CancelScope()

    def put(self, run: Run, settlement: Settlement | None) -> None:
        """Hand over how a run ended; None where nothing is to be recorded, as after a loss."""
        self._waiting.append((run, settlement))
        self._wake.set()

    def finish(self) -> None:
        """Let ``work`` end when everything was recorded, or the back end turns out to be away."""
        self._finishing = True
        self._pausing.cancel()
        self._wake.set()

    async def work(self) -> None:
        """Record what is handed over, until ``finish``."""
        while self._waiting or not self._finishing:
            if not self._waiting:
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            group = self._waiting[: self._queue.config.batch_size]
            del self._waiting[: len(group)]
            await self._record(group)
            for run, _ in group:
                self._recorded(run)

    async def _record(self, group: Sequence[tuple[Run, Settlement | None]]) -> None:
        """Write; while the back end is away, keep trying as long as the leases may hold."""
        while True:
            settlements = [one for run, one in group if one is not None and not run.lost]
            if not settlements:
                return
            try:
                refusals = await self._queue.settle(settlements)
            except BackendUnavailableError:
                if self._finishing:
                    _log.info("%d tasks were not handed back; their leases will end.", len(group))
                    return
                _log.warning("Outcomes could not be recorded; trying again.", exc_info=True)
                with anyio.CancelScope() as self._pausing:
                    await self._clock.sleep(AWAY_PAUSE)
                continue
            for refusal in refusals:
                if refusal is not None:
                    _log.warning("%s", refusal)
            return
