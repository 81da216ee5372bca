"""How things stand, for listeners who cannot be told everything that happened."""

import json
from collections import OrderedDict
from typing import Final, NamedTuple

import anyio
from pydantic import JsonValue

from mcp_orchestrator.errors import OrchestratorError
from mcp_orchestrator.saga import SagaView
from mcp_orchestrator.server.auth.access import Access
from mcp_orchestrator.server.auth.caller import Caller
from mcp_orchestrator.server.owned import Workspace
from mcp_orchestrator.server.toolsets.saga_views import summarise_saga
from mcp_orchestrator.web.feed import EventFeed, Filter, Listener

#: Sagas that a snapshot shows, where the listener has not chosen any.
_MOST_SAGAS: Final = 50
#: Snapshots that are kept; those who fall behind together are told the same.
_MOST_KEPT: Final = 64


class _Kept(NamedTuple):
    cursor: int
    text: str


class Snapshots:
    """Makes snapshots, each once for all who may be told the same.

    Args:
        feed: says up to which event a snapshot stands for what happened.
        workspace: what snapshots are made of.
        access: narrows it to a caller.
    """

    def __init__(self, feed: EventFeed, workspace: Workspace, access: Access) -> None:
        self._feed = feed
        self._workspace = workspace
        self._access = access
        self._kept: OrderedDict[object, _Kept] = OrderedDict()
        self._making = anyio.Lock()

    async def of(self, listener: Listener, caller: Caller) -> str:
        """Return a snapshot that covers everything a listener was not told.

        Raises:
            ForbiddenError: the caller's scopes do not cover what they listen to.
        """
        group = (listener.filter, listener.group, caller.principal.scopes)
        async with self._making:
            kept = self._kept.get(group)
            if kept is None or kept.cursor < listener.missed:
                kept = self._kept[group] = await self._make(listener.filter, caller)
                if len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
        return kept.text

    async def _make(self, wanted: Filter, caller: Caller) -> _Kept:
        cursor = self._feed.position
        message: dict[str, JsonValue] = {"type": "snapshot", "cursor": cursor}
        if "saga" in wanted.kinds:
            with self._access.acting(caller, "saga", write=False):
                message["sagas"] = await self._sagas(wanted)
        if "queue" in wanted.kinds:
            with self._access.acting(caller, "queue", write=False):
                message["queue"] = await self._feed.queue()
        return _Kept(cursor, json.dumps(message, separators=(",", ":"), ensure_ascii=False))

    async def _sagas(self, wanted: Filter) -> list[JsonValue]:
        sagas = self._workspace.sagas
        if not wanted.ids:
            views = await sagas.list_sagas(limit=_MOST_SAGAS)
        else:
            views = list[SagaView]()
            for saga_id in sorted(wanted.ids):
                try:
                    views.append(await sagas.get(saga_id))
                except OrchestratorError:  # there is none, or it is somebody else's
                    continue
        return [summarise_saga(view).model_dump(mode="json") for view in views]
