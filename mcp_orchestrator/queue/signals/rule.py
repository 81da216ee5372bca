"""Rules and signals: which signal starts what. Pure but for the interface to sagas."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mcp_orchestrator.queue.task import PriorityName

Payload = dict[str, JsonValue]
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class StartTask(BaseModel):
    """Add a task whose payload is the signal's."""

    model_config = _FROZEN

    kind: Literal["task"] = "task"
    task_type: str
    priority: PriorityName = "NORMAL"
    max_retries: int | None = Field(default=None, ge=0)


class StartSaga(BaseModel):
    """Start a saga whose input is the signal's payload."""

    model_config = _FROZEN

    kind: Literal["saga"] = "saga"
    definition: Payload


class SignalSaga(BaseModel):
    """Pass the signal on to a saga that waits for it; the payload says which."""

    model_config = _FROZEN

    kind: Literal["saga_signal"] = "saga_signal"
    saga_id_at: str = Field(default="saga_id", description="Where in the payload the id is.")
    signal: str | None = Field(default=None, description="What the saga waits for; else the name.")


class SignalRule(BaseModel):
    """What a signal starts.

    Attributes:
        name: of the rule; a rule of the same name is replaced.
        pattern: of the signal's name, with ``*``, ``?`` and ``[…]``; case counts.
        where: paths into the payload (``order.country``) and the value each must have, or a list
            of those it may have.
        target: what to start.
    """

    model_config = _FROZEN

    name: str = Field(min_length=1, max_length=200)
    pattern: str = Field(min_length=1, max_length=200)
    where: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    target: Annotated[StartTask | StartSaga | SignalSaga, Field(discriminator="kind")]

    def matches(self, name: str, payload: Payload) -> bool:
        """Return whether this rule is for such a signal."""
        if not fnmatchcase(name, self.pattern):
            return False
        return all(_is_wanted(at(payload, path), value) for path, value in self.where.items())


def at(payload: JsonValue, path: str) -> JsonValue:
    """Return the value at a dotted path; None where there is none."""
    for part in path.split("."):
        if not isinstance(payload, dict):
            return None
        payload = payload.get(part)
    return payload


def _is_wanted(value: JsonValue, wanted: JsonValue) -> bool:
    choices = wanted if isinstance(wanted, list) else [wanted]
    # True is 1 in Python, but not in JSON
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in choices)


class SignalStatus(StrEnum):
    """What became of a signal: ``UNROUTED`` matched no rule, ``FAILED`` could not start all."""

    RECEIVED = "received"
    ROUTED = "routed"
    UNROUTED = "unrouted"
    FAILED = "failed"


class Outcome(BaseModel):
    """What one rule made of a signal: the id of what it started, or why it could not."""

    model_config = _FROZEN

    rule: str
    kind: Literal["task", "saga", "saga_signal"]
    id: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal and what became of it."""

    signal_id: str
    name: str
    payload: Payload
    owner: str | None
    status: SignalStatus
    outcomes: tuple[Outcome, ...]
    received_at: datetime


class SagaTarget(Protocol):
    """What signals need of the sagas; the program's runtime provides it."""

    async def start_saga(
        self, definition: Payload, payload: Payload, *, key: str, owner: str | None
    ) -> str:
        """Start a saga, once for each key, and return its id."""
        ...

    async def signal_saga(
        self, saga_id: str, signal: str, payload: Payload, *, key: str, owner: str | None
    ) -> None:
        """Send a signal to a saga, once for each key."""
        ...
