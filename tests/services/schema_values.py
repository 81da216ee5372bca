"""Values that a JSON Schema of ours allows: the part of the standard that Pydantic writes."""

import string
from typing import Any, cast

from hypothesis import strategies as st

Schema = dict[str, Any]
Values = st.SearchStrategy[Any]
REFERENCE = "#/$defs/"

#: Any JSON, not deep.
JSON: Values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(string.printable, max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def values_of(schema: Schema, definitions: Schema | None = None) -> Values:
    """Return a strategy for the values that a schema allows.

    Args:
        schema: the schema.
        definitions: what it refers to; its own ``$defs`` by default.
    """
    known: Schema = definitions or schema.get("$defs", {})
    if "$ref" in schema:
        return values_of(known[schema["$ref"].removeprefix(REFERENCE)], known)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*(values_of(each, known) for each in schema["anyOf"]))
    kinds = schema.get("type")
    if kinds is None:
        return JSON
    names = [kinds] if isinstance(kinds, str) else cast("list[str]", kinds)
    return st.one_of(*(_of_type(name, schema, known) for name in names))


def _of_type(name: str, schema: Schema, definitions: Schema) -> Values:
    if name == "object":
        return _objects(schema, definitions)
    if name == "array":
        items = values_of(schema.get("items", {}), definitions)
        size = schema.get("minItems", 0)
        return st.lists(items, min_size=size, max_size=min(schema.get("maxItems", 4), size + 4))
    if name == "string":
        size = schema.get("minLength", 0)
        return st.text(min_size=size, max_size=min(schema.get("maxLength", 40), size + 40))
    if name in ("integer", "number"):
        return _numbers(name, schema)
    return st.booleans() if name == "boolean" else st.none()


def _numbers(name: str, schema: Schema) -> Values:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -(2**31)))
    high = schema.get("maximum", schema.get("exclusiveMaximum", 2**31))
    if name == "integer":
        return st.integers(int(low), int(high))
    return st.floats(
        low, high, allow_nan=False, exclude_min="exclusiveMinimum" in schema,
        exclude_max="exclusiveMaximum" in schema,
    )  # fmt: skip


def _objects(schema: Schema, definitions: Schema) -> Values:
    properties: Schema = schema.get("properties", {})
    required: list[str] = schema.get("required", [])
    named = {name: values_of(field, definitions) for name, field in properties.items()}
    fixed = st.fixed_dictionaries(
        {name: named[name] for name in required},
        optional={name: each for name, each in named.items() if name not in required},
    )
    further = schema.get("additionalProperties", False)
    if not isinstance(further, dict):
        return fixed
    more = st.dictionaries(
        st.text(max_size=8), values_of(cast("Schema", further), definitions), max_size=3
    )
    return st.tuples(more, fixed).map(lambda parts: {**parts[0], **parts[1]})
