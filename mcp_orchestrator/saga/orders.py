"""What a person orders about a saga, and what the order would do."""

from dataclasses import dataclass

from pydantic import JsonValue

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.saga.values import JsonObject


@dataclass(frozen=True, slots=True)
class Order:
    """By whom and why a saga is changed by hand.

    Attributes:
        reason: the audit trail keeps it; not empty.
        user_id: who gives the order, when known.
    """

    reason: str
    user_id: str | None = None

    def data(self, **more: JsonValue) -> JsonObject:
        """Return what the audit event says."""
        if not self.reason.strip():
            raise InvalidInputError(
                "A reason is needed.", remedy="Say why: the audit trail keeps it."
            )
        by: JsonObject = {"by": self.user_id} if self.user_id is not None else {}
        return {"reason": self.reason, **by, **more}


@dataclass(frozen=True, slots=True)
class Preview:
    """What an intervention would do.

    Attributes:
        runs: the steps that would be run, in order.
        compensates: the steps that would be undone, in order.
        skips: the steps that would count as done.
    """

    runs: list[str]
    compensates: list[str]
    skips: list[str]
