"""Reading a definition from JSON; what is wrong is named by its JSON path."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.saga.built_in import CHILD, UNDO_CHILD
from mcp_orchestrator.saga.definition import SagaDefinition, SagaStep
from mcp_orchestrator.saga.retry import MOST_ATTEMPTS, RetryPolicy
from mcp_orchestrator.saga.step import ActionCatalog

_STRICT = ConfigDict(extra="forbid", frozen=True)


class RetryDocument(BaseModel):
    """``retry`` and ``compensation_retry`` of a step: exponential back-off with jitter."""

    model_config = _STRICT
    max_attempts: int = Field(RetryPolicy.max_attempts, ge=1, le=MOST_ATTEMPTS)
    first_delay: float = Field(RetryPolicy.first_delay, ge=0, allow_inf_nan=False)
    factor: float = Field(RetryPolicy.factor, ge=1, allow_inf_nan=False)
    max_delay: float = Field(RetryPolicy.max_delay, ge=0, allow_inf_nan=False)
    jitter: float = Field(RetryPolicy.jitter, ge=0, le=1)

    def policy(self) -> RetryPolicy:
        """Return it as the engine's own type."""
        return RetryPolicy(**self.model_dump())


class StepDocument(BaseModel):
    """One step as JSON; the fields are those of ``SagaStep``."""

    model_config = _STRICT
    name: str = Field(description="Unique in the saga; no dot.", min_length=1, max_length=100)
    action: str = Field(description="The name of a registered action.")
    compensation: str | None = Field(None, description="The action that undoes it.")
    timeout: float | None = Field(None, gt=0, description="Seconds for one attempt.")
    retry: RetryDocument = Field(default_factory=lambda: RetryDocument.model_validate({}))
    arguments: dict[str, JsonValue] | None = Field(
        None, description='May hold {"$ref": "steps.NAME.result.x"} and {"$ref": "input.x"}.'
    )
    group: str | None = Field(None, description="Neighbours with the same group run together.")
    compensation_retry: RetryDocument | None = None
    probe: str | None = Field(None, description="Asked after a crash whether the effect happened.")
    on_uncertain: Literal["repeat", "hold"] = "repeat"
    pivot: bool = Field(False, description="Once it is done the saga only goes forward.")

    def step(self) -> SagaStep:
        """Return it as the engine's own type."""
        again = self.compensation_retry
        if self.action == CHILD:  # what is wrong with a child is found before anything runs
            parse_definition((self.arguments or {}).get("definition"))
        return SagaStep(
            name=self.name,
            action=self.action,
            compensation=self.compensation or (UNDO_CHILD if self.action == CHILD else None),
            timeout=self.timeout,
            retry=self.retry.policy(),
            arguments=self.arguments,
            group=self.group,
            compensation_retry=again.policy() if again is not None else None,
            probe=self.probe,
            on_uncertain=self.on_uncertain,
            pivot=self.pivot,
        )


class DefinitionDocument(BaseModel):
    """A whole definition as JSON; its schema is what a tool publishes."""

    model_config = _STRICT
    name: str = Field(min_length=1, max_length=100)
    version: str = Field("1", min_length=1, max_length=50)
    steps: list[StepDocument] = Field(min_length=1, max_length=200)
    redact: list[str] = Field(default_factory=list, description="Fields the audit must not show.")


def parse_definition(document: object, actions: ActionCatalog | None = None) -> SagaDefinition:
    """Read a definition and check all of it before anything is written.

    Args:
        document: the decoded JSON.
        actions: where its actions must be registered; not checked without.

    Raises:
        InvalidInputError: the message begins with the JSON path of what is wrong.
    """
    try:
        parsed = DefinitionDocument.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInputError(f"{_json_path(first['loc'])}: {first['msg']}.") from error
    steps = tuple(step.step() for step in parsed.steps)
    definition = SagaDefinition(parsed.name, parsed.version, steps, tuple(parsed.redact))
    if actions is not None:
        definition.check_actions(actions)
    return definition


def _json_path(location: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
