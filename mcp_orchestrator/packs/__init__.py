"""Packs: a user's own actions, task handlers and MCP tools, dropped in a folder.

A pack is one Python file, or a folder with an ``__init__.py``, that holds a ``Pack``::

    from mcp_orchestrator.packs import Pack, StepHandle

    pack = Pack("travel", description="Book a trip.")

    @pack.action(compensation="travel.cancel_hotel")
    async def reserve_hotel(city: str, nights: int, step: StepHandle) -> dict[str, object]:
        \"\"\"Reserve a hotel room.\"\"\"
        ...
"""

from mcp_orchestrator.packs.loader import LoadedPack, load_packs
from mcp_orchestrator.packs.pack import Pack
from mcp_orchestrator.packs.registry import Registry
from mcp_orchestrator.queue import TaskContext
from mcp_orchestrator.saga import BusinessRefusalError, StepHandle

__all__ = [
    "BusinessRefusalError",
    "LoadedPack",
    "Pack",
    "Registry",
    "StepHandle",
    "TaskContext",
    "load_packs",
]
