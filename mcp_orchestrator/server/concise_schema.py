"""JSON schemas in fewer words: the same values fit, clients pay for fewer tokens (pure)."""

from collections.abc import Mapping
from typing import Final, cast

from pydantic import JsonValue

Schema = dict[str, JsonValue]
#: Keys whose values are schemas by name, so that a key in them is a name and no keyword.
BY_NAME: Final = frozenset({"properties", "$defs", "patternProperties", "dependentSchemas"})
#: Keys whose values are data, so that nothing in them is a keyword.
DATA: Final = frozenset({"default", "const", "enum", "examples", "required"})
REFERENCE: Final = "#/$defs/"
#: What an outline does not say, besides that there are no further fields.
UNSAID: Final = frozenset({"$defs", "default", "examples", "required"})
#: What stays of a definition in an outline: its doc-string was written for programmers.
SHAPE: Final = frozenset(
    {
        "$defs", "$ref", "additionalProperties", "anyOf", "const", "enum", "format", "items",
        "oneOf", "prefixItems", "properties", "type",
    }
)  # fmt: skip


def concise(schema: Mapping[str, JsonValue]) -> Schema:
    """Shorten the schema of an input; exactly the same values are valid.

    Titles and defaults of null go, ``anyOf`` with null becomes a list of types, and a definition
    that is used in one place, or says next to nothing, is written where it is used.

    Args:
        schema: a JSON Schema, as Pydantic writes it.
    """
    definitions = {
        name: cast("Schema", _shorten(definition))
        for name, definition in cast("Schema", schema.get("$defs", {})).items()
    }
    top = cast("Schema", _shorten({key: schema[key] for key in schema if key != "$defs"}))
    return _with_definitions_in_place(top, definitions)


def outline(schema: Mapping[str, JsonValue], depth: int = 1) -> Schema:
    """Shorten the schema of an output to its fields; all values stay valid, and others become so.

    A model needs the names of the fields and what they mean. That all are there, and what is in
    objects inside of objects, it sees in the answer.

    Args:
        schema: a JSON Schema, as Pydantic writes it.
        depth: how many objects inside one another are described.
    """
    definitions = {
        name: {key: inner for key, inner in cast("Schema", definition).items() if key in SHAPE}
        for name, definition in cast("Schema", schema.get("$defs", {})).items()
    }
    top: Schema = {key: inner for key, inner in schema.items() if key in SHAPE}
    whole = concise({**top, "$defs": cast("JsonValue", definitions)})
    return cast("Schema", _without_depth(whole, cast("Schema", whole.get("$defs", {})), depth))


def _without_depth(value: JsonValue, definitions: Schema, depth: int) -> JsonValue:
    if isinstance(value, list):
        return [_without_depth(item, definitions, depth) for item in value]
    if not isinstance(value, dict):
        return value
    name = _referred(value)
    if name is not None:
        meant = _at_a_glance(cast("Schema", definitions[name]), depth)
        beside = {key: inner for key, inner in value.items() if key != "$ref"}
        return _without_depth({**meant, **beside}, definitions, depth)
    return {
        key: _fields_without_depth(key, inner, definitions, depth)
        for key, inner in value.items()
        if key not in UNSAID and inner is not False and not (key == "properties" and depth == 0)
    }


def _at_a_glance(definition: Schema, depth: int) -> Schema:
    """Return what is shown of a definition: at the last depth its type, so that none goes round."""
    if depth > 0:
        return definition
    return {key: inner for key, inner in definition.items() if key in ("type", "enum", "const")}


def _fields_without_depth(key: str, value: JsonValue, definitions: Schema, depth: int) -> JsonValue:
    if key in DATA:
        return value
    if key == "properties" and isinstance(value, dict):
        return {
            field: _without_depth(inner, definitions, depth - 1) for field, inner in value.items()
        }
    return _without_depth(value, definitions, depth)


def _shorten(value: JsonValue) -> JsonValue:
    """Leave out what says nothing, in a schema and in all schemas inside it."""
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept: Schema = {}
    for key, inner in value.items():
        if key == "title" or (key, inner) in (("default", None), ("additionalProperties", True)):
            continue
        if key in DATA:
            kept[key] = inner
        elif key in BY_NAME and isinstance(inner, dict):
            kept[key] = {name: _shorten(each) for name, each in inner.items()}
        else:
            kept[key] = _shorten(inner)
    return _or_null(kept)


def _or_null(schema: Schema) -> Schema:
    """Say ``anyOf: [X, null]`` as X whose type may also be null, where X has one simple type."""
    choices = schema.get("anyOf")
    if not isinstance(choices, list) or len(choices) != 2 or choices[1] != {"type": "null"}:
        return schema
    value = choices[0]
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return schema
    if set(value) & (set(schema) | {"enum", "const"}):
        return schema
    rest = {key: inner for key, inner in schema.items() if key != "anyOf"}
    return {**value, "type": [value["type"], "null"], **rest}


def _with_definitions_in_place(top: Schema, definitions: dict[str, Schema]) -> Schema:
    """Write definitions where they are used, but those that are long and used more than once."""
    uses: dict[str, int] = {}
    for schema in (top, *definitions.values()):
        _count(schema, uses)
    in_place = {
        name: definition
        for name, definition in definitions.items()
        if (uses.get(name, 0) == 1 or not definition) and not _mentions(definition, name)
    }
    named = {
        name: _replace(definition, in_place)
        for name, definition in definitions.items()
        if name not in in_place and name in uses
    }
    written = cast("Schema", _replace(top, in_place))
    return {**written, "$defs": cast("JsonValue", named)} if named else written


def _referred(schema: Schema) -> str | None:
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(REFERENCE):
        return reference.removeprefix(REFERENCE)
    return None


def _count(value: JsonValue, uses: dict[str, int]) -> None:
    if isinstance(value, list):
        for item in value:
            _count(item, uses)
    elif isinstance(value, dict):
        name = _referred(value)
        if name is not None:
            uses[name] = uses.get(name, 0) + 1
        for inner in value.values():
            _count(inner, uses)


def _mentions(definition: Schema, name: str) -> bool:
    uses: dict[str, int] = {}
    _count(definition, uses)
    return name in uses


def _replace(value: JsonValue, in_place: Mapping[str, Schema]) -> JsonValue:
    if isinstance(value, list):
        return [_replace(item, in_place) for item in value]
    if not isinstance(value, dict):
        return value
    name = _referred(value)
    if name is None or name not in in_place:
        return {key: _replace(inner, in_place) for key, inner in value.items()}
    beside = {key: inner for key, inner in value.items() if key != "$ref"}
    definition = cast("Schema", _replace(in_place[name], in_place))
    return _or_null({**definition, **beside})
