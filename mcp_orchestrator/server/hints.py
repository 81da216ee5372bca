"""What tools say of themselves to hosts, so that each kind of tool says it in the same words."""

from typing import Final

from mcp_types import ToolAnnotations

#: It only looks, at what is kept here.
READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
#: It only looks, and asks others for it.
ASKS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=True)
#: Each call makes one more thing, and harms none.
ADDS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)
#: It brings about a state, and a second call nothing more.
SETS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
#: The same, and what was there before is gone: it is confirmed before it is done.
REPLACES: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)
#: Actions of users run, anywhere; what they do can be undone by their compensations.
STARTS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
)
#: The same, on what has run already: it is confirmed before it is done.
ACTS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
)
