"""Definitions, references, retries and redaction: the pure parts, against any input."""

import hashlib
import json
import math
import random
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.saga import (
    JsonObject,
    JsonValue,
    RetryPolicy,
    SagaDefinition,
    SagaStep,
    StepHandle,
    parse_definition,
)
from mcp_orchestrator.saga.catalog import KnownActions, NoActions
from mcp_orchestrator.saga.redaction import REDACTED, Redactor
from mcp_orchestrator.saga.references import find_references, resolve
from mcp_orchestrator.store.canonical import as_json, canonical_json, clean_text
from mcp_orchestrator.store.chain import COVERED, GENESIS, event_hash

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


class Catalog(NoActions):
    def names(self) -> list[str]:
        return ["a", "b"]


async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    return None


BAD: dict[str, object] = {
    "$.steps": {"name": "n", "steps": []},
    "$.name": {"name": "", "steps": [{"name": "s", "action": "a"}]},
    "$.steps[0].action": {"name": "n", "steps": [{"name": "s", "action": "nope"}]},
    "$.steps[0].compensation": {
        "name": "n", "steps": [{"name": "s", "action": "a", "compensation": "nope"}],
    },
    "$.steps[1].name": {
        "name": "n", "steps": [{"name": "s", "action": "a"}, {"name": "s", "action": "b"}],
    },
    "$.steps[0].timeout": {"name": "n", "steps": [{"name": "s", "action": "a", "timeout": -1}]},
    "$.steps[0].retry.max_attempts": {
        "name": "n", "steps": [{"name": "s", "action": "a", "retry": {"max_attempts": 0}}],
    },
    "$.steps[0].typo": {"name": "n", "steps": [{"name": "s", "action": "a", "typo": 1}]},
    "$.steps[0].arguments.x": {
        "name": "n",
        "steps": [{"name": "s", "action": "a", "arguments": {"x": {"$ref": "outputs.y"}}}],
    },
    "$.steps[0].arguments.deep[1].y": {
        "name": "n",
        "steps": [
            {"name": "s", "action": "a",
             "arguments": {"deep": [0, {"y": {"$ref": "steps.t.result"}}]}},
            {"name": "t", "action": "b"},
        ],
    },
    "$.steps[0].arguments.self": {
        "name": "n",
        "steps": [{"name": "s", "action": "a", "arguments": {"self": {"$ref": "steps.s.result"}}}],
    },
    "$.steps[1].arguments.mate": {
        "name": "n",
        "steps": [
            {"name": "s", "action": "a", "group": "g"},
            {"name": "t", "action": "a", "group": "g",
             "arguments": {"mate": {"$ref": "steps.s.result"}}},
        ],
    },
    "$.steps[0].arguments.signal": {
        "name": "n", "steps": [{"name": "s", "action": "saga.wait_for_signal"}],
    },
    "$.steps[0].arguments": {"name": "n", "steps": [{"name": "s", "action": "saga.sleep"}]},
}  # fmt: skip


@pytest.mark.parametrize("path", BAD)
def test_a_bad_definition_is_named_by_its_json_path(path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_definition(BAD[path], Catalog())
    assert caught.value.message.startswith(f"{path}:")


@pytest.mark.parametrize("document", [None, 3, [], "x", {"steps": 1}, {"name": {}, "steps": [1]}])
def test_what_is_no_definition_at_all_is_refused(document: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^\$"):
        parse_definition(document)


@given(JSON)
def test_no_document_breaks_the_parser(document: JsonValue) -> None:
    step: JsonObject = {"name": "s", "action": "a", "arguments": {"x": document}}
    with suppress(InvalidInputError):
        parse_definition({"name": "n", "steps": [step]})
    with pytest.raises(InvalidInputError):
        parse_definition({"name": "n", "steps": [step], "more": document})


def test_a_definition_is_the_same_after_it_was_stored() -> None:
    steps = (
        SagaStep("s", "a", "b", timeout=3, retry=RetryPolicy(5, 1, 2, 3, 0), group="g"),
        SagaStep(
            "t",
            act,
            act,
            probe=act,
            on_uncertain="hold",
            pivot=True,
            compensation_retry=RetryPolicy(),
        ),
    )
    definition = SagaDefinition("n", "2", steps, ("iban",))
    stored = json.loads(canonical_json(definition.body))
    again = parse_definition(stored)
    assert again.content_hash == definition.content_hash
    assert again.body == definition.body
    assert [step.action for step in again.steps] == ["a", "n@2/t/action"]


def test_what_nobody_could_read_back_is_refused_before_anything_is_written() -> None:
    steps = tuple(SagaStep(f"s{number}", act) for number in range(201))
    with pytest.raises(InvalidInputError, match=r"\$\.steps"):
        KnownActions(NoActions()).admit(SagaDefinition("long", "1", steps))


def test_a_process_without_the_actions_leaves_the_saga_to_others() -> None:
    mine = SagaDefinition("n", "1", (SagaStep("s", act),))
    stored = parse_definition(mine.body)
    known = KnownActions(Catalog())
    assert not known.can_run(stored)
    known.admit(mine)
    assert known.can_run(stored)
    assert known.find("n@1/s/action") is act


def test_another_content_has_another_hash() -> None:
    one = SagaDefinition("n", "1", (SagaStep("s", "a"),))
    other = SagaDefinition("n", "1", (SagaStep("s", "a", timeout=1),))
    assert one.content_hash != other.content_hash


@given(JSON)
def test_values_without_references_stand_for_themselves(value: JsonValue) -> None:
    text = canonical_json(value)
    if '"$ref"' not in text:
        assert resolve(value, {"input": {}, "steps": {}}) == value
        assert list(find_references(value, "$")) == []


@given(JSON)
def test_a_reference_gives_exactly_what_it_points_at(value: JsonValue) -> None:
    context: JsonObject = {"input": {"x": [value]}, "steps": {"s": {"result": value}}}
    assert resolve({"$ref": "input.x.0"}, context) == value
    assert resolve([{"k": {"$ref": "steps.s.result"}}], context) == [{"k": value}]


@pytest.mark.parametrize("path", ["input.y", "input.x.1", "input.x.-1", "steps.s.result.z"])
def test_a_reference_to_nothing_says_how_far_it_led(path: str) -> None:
    context: JsonObject = {"input": {"x": [1]}, "steps": {"s": {"result": "text"}}}
    with pytest.raises(InvalidInputError, match=r"^\$\.a: .* has no "):
        resolve({"a": {"$ref": path}}, context)


@given(st.integers(1, 10_000), st.integers(0, 2**32), st.floats(0, 1))
def test_a_delay_stays_within_its_bounds(failures: int, seed: int, jitter: float) -> None:
    policy = RetryPolicy(first_delay=0.5, factor=2, max_delay=60, jitter=jitter)
    full = min(0.5 * 2 ** min(failures - 1, 64), 60)
    assert full * (1 - jitter) - 1e-9 <= policy.delay(failures, random.Random(seed)) <= full


@pytest.mark.parametrize(
    "fields",
    [{"max_attempts": 0}, {"max_attempts": 101}, {"factor": 0.5}, {"factor": math.inf},
     {"first_delay": math.nan}, {"max_delay": -1}, {"jitter": 2}],
)  # fmt: skip
def test_a_policy_that_cannot_be_meant_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        RetryPolicy(**fields)  # type: ignore[arg-type]


@given(JSON)
def test_what_is_stored_reads_back_the_same(value: JsonValue) -> None:
    text = canonical_json(value)
    assert text.isascii()
    assert as_json(value) == value
    assert canonical_json(as_json(value)) == text


@given(st.text())
def test_foreign_text_becomes_storable(text: str) -> None:
    clean = clean_text(text, longest=50)
    assert "\x00" not in clean
    assert len(clean) <= 53
    clean.encode("utf-8")


def test_secrets_are_redacted_by_name_and_by_look() -> None:
    redact = Redactor(["iban"])
    shown = redact.value(
        {
            "api_key": "x", "apiKey": "x", "X-Auth-Token": "x", "IBAN": "DE1", "max_tokens": 5,
            "nested": [{"Password": {"any": "thing"}}],
            "note": "call with Authorization: Bearer abcdefgh12345678 please",
        }
    )  # fmt: skip
    assert shown == {
        "api_key": REDACTED, "apiKey": REDACTED, "X-Auth-Token": REDACTED, "IBAN": REDACTED,
        "max_tokens": 5, "nested": [{"Password": REDACTED}],
        "note": f"call with Authorization: {REDACTED} please",
    }  # fmt: skip
    assert redact.text("key sk-abcdefgh12345 refused") == f"key {REDACTED} refused"
    assert redact.text("postgresql://ann:hunter2@db/x") == f"postgresql://{REDACTED}@db/x"


EVENT_VALUES = st.one_of(
    st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(),
    st.datetimes(timezones=st.just(UTC)), st.dictionaries(st.text(), st.integers()),
)  # fmt: skip


@given(st.fixed_dictionaries(dict.fromkeys(COVERED, EVENT_VALUES)))
def test_the_hash_covers_the_canonical_form_of_an_event(event: dict[str, object]) -> None:
    plain = {
        name: value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
        for name, value in event.items()
    }
    text = f"{GENESIS}\n{canonical_json(plain)}"
    assert event_hash(GENESIS, event) == hashlib.sha256(text.encode("ascii")).hexdigest()
