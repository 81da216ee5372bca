"""Bounded waits that tell, while they last, how the work goes on.

Hosts cut a call at about a minute, so no tool waits longer than ``LONGEST_WAIT`` seconds; it then
answers with the present status and when to ask again.
"""

from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context
from pydantic import Field

from mcp_orchestrator.saga import SagaView
from mcp_orchestrator.server.owned.sagas import OwnedSagas

LONGEST_WAIT = 50.0
#: How long a client should pause before it asks again, in seconds.
ASK_AGAIN_AFTER = 5.0
_LOOK_EVERY = 0.2

WaitSeconds = Annotated[
    float,
    Field(
        ge=0,
        le=LONGEST_WAIT,
        description="Wait up to this many seconds for the end before answering; 0 answers at once.",
    ),
]
ToolContext = Context[Any, Any]


async def follow_saga(
    sagas: OwnedSagas, saga_id: str, seconds: float, context: ToolContext, *, shown: int = 0
) -> SagaView:
    """Wait for a saga's end, passing its progress on to the client.

    Args:
        sagas: the engine.
        saga_id: which saga.
        seconds: how long to wait at most.
        context: the call whose client is told.
        shown: the sequence number of the last event the client knows.

    Returns:
        The saga as it is at its end, or when the time is over.
    """
    view = await sagas.get(saga_id)
    teller = _ProgressTeller(sagas, saga_id, context, shown)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(teller.run)
        view = await sagas.wait_for(saga_id, seconds)
        tasks.cancel_scope.cancel()
    await teller.tell()
    return view


class _ProgressTeller:
    """Sends each new progress event of a saga to the client once."""

    def __init__(self, sagas: OwnedSagas, saga_id: str, context: ToolContext, shown: int) -> None:
        self._sagas = sagas
        self._saga_id = saga_id
        self._context = context
        self._shown = shown
        self._count = 0.0

    async def run(self) -> None:
        while True:
            await self.tell()
            await anyio.sleep(_LOOK_EVERY)

    async def tell(self) -> None:
        for event in await self._sagas.audit(self._saga_id, after=self._shown):
            self._shown = event.sequence
            if event.event_type == "step_progress":
                self._count += 1
                message = str(event.event_data.get("message", ""))
                await self._context.report_progress(self._count, None, message)
