"""What all servers on one store share beside the work itself."""

from dataclasses import dataclass
from typing import Final

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.confirmations import UsedConfirmations
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.mcp_questions import McpQuestions
from mcp_orchestrator.store.server_keys import shared_key

_PURPOSE: Final = "serving"


@dataclass(frozen=True)
class Serving:
    """Whatever one server hands to a client, another can take back.

    Attributes:
        key: 32 bytes; what clients carry from call to call is sealed under keys derived from it.
        confirmations: which of them have been used.
        questions: what tools in the background ask their clients.
    """

    key: bytes
    confirmations: UsedConfirmations
    questions: McpQuestions


async def open_serving(database: Database, committer: GroupCommitter, clock: Clock) -> Serving:
    """Read the shared key, or make it where this is the first server."""
    return Serving(
        await shared_key(database, committer, clock, _PURPOSE),
        UsedConfirmations(database, committer, clock),
        McpQuestions(database, committer),
    )
