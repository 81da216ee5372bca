"""References in arguments: ``{"$ref": "steps.NAME.result.path"}`` and ``{"$ref": "input.path"}``.

Nothing here reads or writes. An object whose only key is ``$ref`` stands for the value it points
at; everything else stands for itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.saga.values import JsonObject

_KEY = "$ref"
_FORMS = 'Write "input", "input.FIELD", "steps.STEP.result" or "steps.STEP.result.FIELD".'


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference and where it stands.

    Attributes:
        location: the JSON path of the object that holds it, such as ``$.steps[1].arguments.id``.
        parts: the dotted path, split.
    """

    location: str
    parts: tuple[str, ...]

    @property
    def step(self) -> str | None:
        """The step it points at, or None when it points into the input."""
        return self.parts[1] if self.parts[0] == "steps" else None


def find_references(value: JsonValue, location: str) -> Iterator[Reference]:
    """Find every reference in a value.

    Raises:
        InvalidInputError: one is malformed; the message has its JSON path.
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_references(item, f"{location}[{index}]")
    elif isinstance(value, dict):
        if _KEY in value:
            yield _parse(value, location)
            return
        for key, item in value.items():
            yield from find_references(item, f"{location}.{key}")


def resolve(value: JsonValue, context: JsonObject, location: str = "$") -> JsonValue:
    """Return a value with every reference replaced by what it points at.

    Args:
        value: what may hold references.
        context: ``{"input": …, "steps": {NAME: {"result": …}}}``.
        location: the JSON path of the value, for messages.

    Raises:
        InvalidInputError: a reference points at nothing; the message says how far it led.
    """
    if isinstance(value, list):
        return [resolve(item, context, f"{location}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if _KEY in value:
        return _follow(_parse(value, location), context)
    return {key: resolve(item, context, f"{location}.{key}") for key, item in value.items()}


def _parse(holder: JsonObject, location: str) -> Reference:
    path = holder[_KEY]
    if len(holder) != 1 or not isinstance(path, str):
        raise InvalidInputError(
            f"{location}: an object with {_KEY} must have that key alone and a text in it.",
            remedy=_FORMS,
        )
    parts = tuple(path.split("."))
    right = parts[0] == "input" or (
        parts[0] == "steps" and len(parts) >= 3 and parts[2] == "result"
    )
    if not right or "" in parts:
        raise InvalidInputError(f"{location}: {path!r} is not a reference.", remedy=_FORMS)
    return Reference(location, parts)


def _follow(reference: Reference, context: JsonObject) -> JsonValue:
    value: JsonValue = context
    for depth, part in enumerate(reference.parts):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            reached = ".".join(reference.parts[:depth]) or "the context"
            raise InvalidInputError(
                f"{reference.location}: {'.'.join(reference.parts)!r} points at nothing: "
                f"{reached} has no {part!r}."
            )
    return value
