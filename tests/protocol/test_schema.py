"""Schemas compiled once: what they complain of, in which words, and what they refuse to do."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from interlock.protocol import schema as room
from interlock.protocol.effort import VALUE_DEPTH
from interlock.protocol.schema import BadSchema, compile  # noqa: A004  the room's word

Schema = dict[str, Any]


def complaint(schema: Schema | bool, value: Any) -> str | None:
    return compile(schema).complaint(value)


FITTING: list[tuple[Schema | bool, Any]] = [
    ({}, None),
    (True, 1),
    ({"type": "integer"}, 1.0),
    ({"type": "integer"}, 2**70),
    ({"type": ["string", "null"]}, None),
    ({"format": "email"}, "no address: a format is an annotation"),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"}, "x"),
    ({"$schema": "https://json-schema.org/draft/2019-09/schema", "type": "string"}, "x"),
    ({"$schema": "http://json-schema.org/draft-04/schema", "minimum": 1}, 1),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, "x"),
    ({"items": {"$ref": "#"}}, [[[], []]]),
    ({"pattern": "^(?=.*ä)"}, "grün, blau, ä"),
]


@pytest.mark.parametrize(("schema", "value"), FITTING)
def test_what_fits_is_not_complained_of(schema: Schema | bool, value: Any):
    assert complaint(schema, value) is None


WRONG: list[tuple[Schema | bool, Any, str]] = [
    ({"type": "string"}, 5, "the value: expected string, got 5"),
    ({"type": ["string", "null"]}, True, "the value: expected null or string, got true"),
    ({"type": "object"}, [1, 2], "the value: expected object, got an array of 2 items"),
    ({"type": "array"}, {"a": 1}, "the value: expected array, got an object with 1 members"),
    (
        {"properties": {"a": {"items": {"type": "number"}}}},
        {"a": [1, "2"]},
        'a[1]: expected number, got "2"',
    ),
    (
        {"properties": {"a b": {"properties": {"c": False}}}},
        {"a b": {"c": 1}},
        '["a b"].c: expected nothing at all, got 1',
    ),
    ({"required": ["a"]}, {}, 'the value: expected a member "a", there is none'),
    (
        {"dependentRequired": {"a": ["b"]}},
        {"a": 1},
        'the value: expected a member "b", there is none',
    ),
    (
        {"properties": {}, "additionalProperties": False},
        {"x": 1},
        'the value: expected no other members, got "x"',
    ),
    ({"enum": ["a", 1]}, "b", 'the value: expected one of "a", 1, got "b"'),
    ({"const": None}, 0, "the value: expected null, got 0"),
    ({"minimum": 3}, 2.5, "the value: expected at least 3, got 2.5"),
    ({"exclusiveMaximum": 3}, 3, "the value: expected less than 3, got 3"),
    ({"maxLength": 2}, "abc", 'the value: expected at most 2 characters, got "abc"'),
    ({"minItems": 1}, [], "the value: expected at least 1 items, got []"),
    ({"pattern": "^a"}, "b", 'the value: expected text that matches "^a", got "b"'),
    (
        {"uniqueItems": True},
        [1, 1],
        "the value: expected items that all differ, got an array of 2 items",
    ),
    (
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        1,
        "the value: expected something that fits one of the schemas of `anyOf`, got 1",
    ),
    (
        {"oneOf": [{}, {}]},
        1,
        "the value: expected something that fits exactly one of the schemas of `oneOf`, got 1",
    ),
    (
        {"anyOf": [{"properties": {"n": {"type": "integer"}}}, {"type": "null"}]},
        {"n": "x"},
        'n: expected integer, got "x"',
    ),
    ({"not": {}}, 1, "the value: expected something that does not fit `not`, got 1"),
    (False, 1, "the value: expected nothing at all, got 1"),
]


@pytest.mark.parametrize(("schema", "value", "words"), WRONG)
def test_a_complaint_names_the_place_what_was_expected_and_what_came(
    schema: Schema | bool, value: Any, words: str
):
    assert complaint(schema, value) == words


def test_a_complaint_is_short_whatever_it_is_about():
    long = "x" * 40_000
    for schema, value in (
        ({"enum": [long] * 20}, long + "y"),
        ({"const": long}, 2**100_000),
        ({"type": "integer"}, [long] * 100),
        ({"properties": {long: False}}, {long: 1}),
        ({"required": [long]}, {}),
        ({"pattern": "^" + "a" * 10_000}, long),
    ):
        said = complaint(schema, value)
        assert said is not None
        assert len(said) < 2000


@pytest.mark.parametrize("value", ["\ud800", {1: 2}, {"a": {1, 2}}, object(), b"bytes"])
def test_what_is_no_json_is_complained_of(value: Any):
    said = complaint(
        {"type": ["string", "object"], "additionalProperties": {"type": "array"}}, value
    )
    assert said is not None


def test_a_value_that_is_too_deep_is_not_looked_at():
    """Deep recursion would end the process, not the check."""
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    said = complaint({"items": {"$ref": "#"}}, value)
    assert said is not None
    assert f"at most {VALUE_DEPTH} levels" in said
    while value != 1:
        value = value[0]  # Or letting go of it recurses.


def test_what_would_take_too_long_is_not_begun():
    steps: Schema = {
        f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}, {"$ref": f"#/$defs/s{n + 1}"}]}
        for n in range(40)
    }
    schema: Schema = {"$ref": "#/$defs/s0", "$defs": {**steps, "s40": {"type": "string"}}}
    for value in (["a"] * 100, ["a"]):
        said = complaint({"items": schema | {"$id": "x"}}, value)
        assert said is not None
        assert "too long" in said


def test_a_pattern_may_not_search_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "BACKTRACK_LIMIT", 1000)
    said = complaint({"pattern": r"^(?=(a|aa)+$)(a|aa)+\1b$"}, "a" * 60)
    assert said is not None
    assert "takes too long" in said


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "https://example.com/x.json"}, "nothing is fetched"),
        ({"type": "strin"}, "not valid"),
        ({"pattern": "("}, "not valid"),
        ({"$schema": "https://example.com/my-dialect"}, "dialect"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "dialect"),
        ({"$schema": 7}, "dialect"),
        ({"$id": "http://[", "$ref": "x"}, "cannot be used"),
        ({"default": "x" * 2_000_000}, "bytes"),
        ({"default": object()}, "no JSON"),
        ([], "object, true or false"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: Any, why: str):
    with pytest.raises(BadSchema, match=why):
        compile(schema)


def test_changing_a_schema_afterwards_changes_no_check():
    schema: Schema = {"properties": {"a": {"type": "string"}}}
    check = compile(schema)
    schema["properties"]["a"]["type"] = "integer"
    assert check.complaint({"a": "x"}) is None


def test_a_check_may_be_used_from_threads():
    check = compile({"type": "array", "items": {"type": "integer"}})
    said: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: said.append(check.complaint([1] * 1000))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [None] * 8
