"""What the steps of a loop hand on to one another, as JSON in the saga's checkpoint."""

from pydantic import BaseModel, ConfigDict

from mcp_orchestrator.codeloop.attempt import Attempt
from mcp_orchestrator.codeloop.ranking import best_attempt
from mcp_orchestrator.codeloop.spend import Spend


class Plan(BaseModel):
    """What the step `reason` found out."""

    model_config = ConfigDict(frozen=True)

    analysis: str
    tests: str
    tests_generated: bool
    spend: Spend


class Progress(BaseModel):
    """Where the steps `generate` and `refine` left off.

    ``generated_tests`` are those that a model wrote, besides the user's own, to choose among
    programs that pass the user's. ``question`` is what a person is asked before the delivery.
    """

    model_config = ConfigDict(frozen=True)

    attempts: list[Attempt]
    spend: Spend
    generated_tests: str = ""
    stop_reason: str = ""
    needs_approval: bool = False
    question: str = ""

    @property
    def best(self) -> Attempt | None:
        """Return the best attempt, unless a person has to agree before anybody gets it."""
        return best_attempt(self.attempts) if self.attempts and not self.needs_approval else None
