"""A saga's definition: its steps as data, the same whether it came from Python or from JSON."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Literal

from pydantic import JsonValue

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.saga.built_in import ALWAYS_KNOWN, split_arguments
from mcp_orchestrator.saga.references import find_references
from mcp_orchestrator.saga.retry import RetryPolicy
from mcp_orchestrator.saga.step import Action, ActionCatalog
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.saga.waits import check_wait, is_wait
from mcp_orchestrator.store.canonical import CanonicalText, canonical_json

#: What to do with a step that was executing when its runner died.
UncertainPolicy = Literal["repeat", "hold"]


@dataclass(frozen=True, slots=True)
class SagaStep:
    """One step.

    Args:
        name: unique in the definition.
        action: a registered action's name, or a function.
        compensation: what undoes it. It gets ``{"arguments": …, "result": …}``: what the action
            got and what it returned.
        timeout: seconds that one attempt may take; none for no limit.
        retry: what to do about technical errors.
        arguments: what the action gets, with references. Without any it gets the context: the
            input, overlaid by earlier results (an object is merged, else under the step's name).
        group: neighbours with the same group run at the same time, and are compensated so.
        compensation_retry: as ``retry``, for the compensation; the same when not given.
        probe: an action that is asked after a crash whether the effect happened. It gets what
            the action got, and returns ``{"happened": bool, "result": …}``.
        on_uncertain: after a crash without a probe: repeat with the same idempotency key, or
            hold the saga for a person.
        pivot: once it has completed the saga only goes forward: a later step that fails holds
            the saga for a person, who repeats it, says what it returned, or aborts.
    """

    name: str
    action: Action | str
    compensation: Action | str | None = None
    timeout: float | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    arguments: JsonObject | None = None
    group: str | None = None
    compensation_retry: RetryPolicy | None = None
    probe: Action | str | None = None
    on_uncertain: UncertainPolicy = "repeat"
    pivot: bool = False


@dataclass(frozen=True)
class SagaDefinition:
    """A name, a version and the steps; checked when it is made.

    Args:
        name: the saga's type.
        version: a running saga keeps the version it started with.
        steps: in order.
        redact: names of fields that the audit trail must not show, beside the usual secrets.

    Raises:
        InvalidInputError: the message begins with the JSON path of what is wrong.
    """

    name: str
    version: str
    steps: tuple[SagaStep, ...]
    redact: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what can be checked without a catalog."""
        if not self.steps:
            raise InvalidInputError("$.steps: a saga needs at least one step.")
        stage_of: dict[str, int] = {}
        for number, stage in enumerate(self.stages):
            for index in stage:
                step = self.steps[index]
                _check_step(step, f"$.steps[{index}]", stage_of, number)
                stage_of[step.name] = number

    @cached_property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """The indexes of the steps that run together, in order."""
        keyed = groupby(
            range(len(self.steps)), key=lambda index: self.steps[index].group or (index,)
        )
        return tuple(tuple(indexes) for _, indexes in keyed)

    @cached_property
    def body(self) -> JsonObject:
        """The definition as JSON, with functions replaced by the names they are bound to."""
        return {
            "name": self.name,
            "version": self.version,
            "steps": [_step_body(self, step) for step in self.steps],
            "redact": list(self.redact),
        }

    @cached_property
    def text(self) -> CanonicalText:
        """The body as the text that is hashed and stored."""
        return CanonicalText(canonical_json(self.body))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the body, in hexadecimal."""
        return hashlib.sha256(self.text.encode("ascii")).hexdigest()

    @cached_property
    def bound_actions(self) -> dict[str, Action]:
        """The functions of a definition made in Python, by the names its body gives them."""
        return {
            bound_name(self, step, role): function
            for step in self.steps
            for role, function in _roles(step)
            if not isinstance(function, str)
        }

    def action_names(self) -> Iterator[tuple[str, str]]:
        """Give the JSON path and the name of every action it needs."""
        for index, step in enumerate(self.steps):
            for role, function in _roles(step):
                name = function if isinstance(function, str) else bound_name(self, step, role)
                if name not in ALWAYS_KNOWN:
                    yield f"$.steps[{index}].{role}", name

    def check_actions(self, actions: ActionCatalog) -> None:
        """Check that every action is registered.

        Raises:
            InvalidInputError: one is not; the message has its JSON path and the known names.
        """
        known = actions.names()
        for location, name in self.action_names():
            if name not in known and name not in self.bound_actions:
                listed = ", ".join(sorted(known)) or "none"
                raise InvalidInputError(
                    f"{location}: unknown action {name!r}.",
                    remedy=f"Use one of the registered actions: {listed}.",
                )

    def index_of(self, step_name: str) -> int:
        """Return a step's index.

        Raises:
            InvalidInputError: there is no such step.
        """
        for index, step in enumerate(self.steps):
            if step.name == step_name:
                return index
        known = ", ".join(step.name for step in self.steps)
        raise InvalidInputError(f"No step {step_name!r}.", remedy=f"The steps are: {known}.")

    def stage_of(self, step_name: str) -> tuple[int, ...]:
        """Return the indexes of the steps that run together with a step, its own among them.

        Raises:
            InvalidInputError: there is no such step.
        """
        index = self.index_of(step_name)
        return next(stage for stage in self.stages if index in stage)


def bound_name(definition: SagaDefinition, step: SagaStep, role: str) -> str:
    """Return the name under which a definition's own function is known to its sagas."""
    return f"{definition.name}@{definition.version}/{step.name}/{role}"


def _roles(step: SagaStep) -> Sequence[tuple[str, Action | str]]:
    roles = (
        ("action", step.action),
        ("compensation", step.compensation),
        ("probe", step.probe),
    )
    return [(role, function) for role, function in roles if function is not None]


def _step_body(definition: SagaDefinition, step: SagaStep) -> JsonValue:
    names = {
        role: function if isinstance(function, str) else bound_name(definition, step, role)
        for role, function in _roles(step)
    }
    body: JsonObject = {"name": step.name, **names, "retry": _retry_body(step.retry)}
    optional: JsonObject = {
        "timeout": float(step.timeout) if step.timeout is not None else None,
        "arguments": step.arguments,
        "group": step.group,
        "compensation_retry": _retry_body(step.compensation_retry),
        "on_uncertain": step.on_uncertain if step.on_uncertain != "repeat" else None,
        "pivot": step.pivot or None,
    }
    return body | {name: value for name, value in optional.items() if value is not None}


def _retry_body(retry: RetryPolicy | None) -> JsonValue:
    if retry is None:
        return None
    return {
        "max_attempts": retry.max_attempts,
        "first_delay": float(retry.first_delay),
        "factor": float(retry.factor),
        "max_delay": float(retry.max_delay),
        "jitter": float(retry.jitter),
    }


def _check_step(step: SagaStep, location: str, stage_of: dict[str, int], stage: int) -> None:
    if not step.name or "." in step.name or len(step.name) > 100:
        raise InvalidInputError(
            f"{location}.name: {step.name!r} is not a step's name.",
            remedy="Use 1 to 100 characters and no dot.",
        )
    if step.name in stage_of:
        raise InvalidInputError(f"{location}.name: another step is called {step.name!r}.")
    if step.timeout is not None and step.timeout <= 0:
        raise InvalidInputError(f"{location}.timeout: must be more than 0 seconds.")
    if is_wait(step.action):
        check_wait(step.action, step.arguments, f"{location}.arguments")
    own, _ = split_arguments(step.action, step.arguments or {})
    for reference in find_references(own, f"{location}.arguments"):
        if reference.step is None:
            continue
        if stage_of.get(reference.step, stage) >= stage:
            raise InvalidInputError(
                f"{reference.location}: {'.'.join(reference.parts)!r} must point at an earlier "
                f"step, and {reference.step!r} is not one.",
                remedy=f"Earlier steps: {', '.join(stage_of) or 'none'}.",
            )
