"""Shorter schemas: the same inputs are valid, and every output stays valid."""

from enum import StrEnum
from typing import Annotated, Any, Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mcp_orchestrator.server.concise_schema import Schema, concise, outline


class Colour(StrEnum):
    """A colour, in many words that are meant for programmers."""

    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    """At the end."""

    model_config = ConfigDict(extra="forbid")

    title: str
    size: Annotated[int, Field(ge=1, le=9)] | None = None
    colour: Colour | None = None


class Branch(BaseModel):
    """In the middle."""

    leaves: list[Leaf] = []
    first: Leaf | None = None
    default: Literal["a", "b"] = "a"
    extra: dict[str, JsonValue] = {}
    next: "Branch | None" = None


class Tree(BaseModel):
    """All of it."""

    title: str | None = Field(None, description="What it is called.")
    enum: Colour = Colour.RED
    left: Branch
    right: Branch | None = None
    shares: tuple[int, str] = (1, "a")
    either: int | str | None = None


Values = st.SearchStrategy[Any]
ORIGINAL = Tree.model_json_schema()
WORDS: Values = st.sampled_from(["title", "red", "a", "", "green"])
SCALARS: Values = st.one_of(st.none(), st.booleans(), st.integers(-1, 10), WORDS)
NAMES: Values = st.sampled_from(
    sorted({*Tree.model_fields, *Branch.model_fields, *Leaf.model_fields})
)
ANYTHING: Values = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5)
)
COLOURS: Values = st.sampled_from(["red", "blue", "green", None])
LEAVES: Values = st.fixed_dictionaries(
    {"title": WORDS}, optional={"size": st.integers(0, 10) | st.none(), "colour": COLOURS}
)
BRANCHES: Values = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"leaves": st.lists(LEAVES, max_size=2), "first": LEAVES, "default": WORDS}
    ),
    lambda inner: st.fixed_dictionaries({"next": inner}, optional={"extra": ANYTHING}),
    max_leaves=3,
)
TREES: Values = st.fixed_dictionaries(
    {"left": BRANCHES},
    optional={"title": SCALARS, "enum": COLOURS, "right": BRANCHES | st.none(), "either": SCALARS},
)


def is_valid(schema: Schema, value: JsonValue) -> bool:
    return cast("Any", Draft202012Validator(schema)).is_valid(value)


@given(ANYTHING | TREES)
def test_the_same_inputs_are_valid(value: JsonValue) -> None:
    before = is_valid(ORIGINAL, value)
    assert is_valid(concise(ORIGINAL), value) == before


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@given(TREES)
def test_every_output_stays_valid(depth: int, value: JsonValue) -> None:
    if is_valid(ORIGINAL, value):
        assert is_valid(outline(ORIGINAL, depth), value)


def test_fields_keep_their_names_and_what_is_said_of_them() -> None:
    properties = concise(ORIGINAL)["properties"]
    assert isinstance(properties, dict)
    assert properties["title"] == {
        "type": ["string", "null"], "description": "What it is called.",
    }  # fmt: skip
    assert set(properties) == set(Tree.model_fields)
    outlined = outline(ORIGINAL)["properties"]
    assert isinstance(outlined, dict)
    assert outlined["enum"] == {
        "enum": ["red", "blue"], "type": "string",
    }  # fmt: skip
    assert outlined["title"] == properties["title"]
    assert outlined["left"] == {"type": "object"}
