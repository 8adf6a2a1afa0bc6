"""What a schema can cost is known before it is used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from interlock.protocol.effort import DEPTH, SUBSCHEMAS, VALUE_DEPTH, Effort, Unbounded

Schema = dict[str, Any]


def refused(schema: Schema, **options: Any) -> str:
    with pytest.raises(Unbounded) as caught:
        Effort(schema, **options)
    return str(caught.value)


def entangled(levels: int) -> Schema:
    """A small schema that looks at one value two to the power of *levels* times."""
    steps: Schema = {
        f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}, {"$ref": f"#/$defs/s{n + 1}"}]}
        for n in range(levels)
    }
    return {"$ref": "#/$defs/s0", "$defs": {**steps, f"s{levels}": {"type": "string"}}}


def test_a_plain_schema_costs_its_keywords_once():
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    assert Effort(schema).of(1, 1) == 2
    assert Effort({}).of(1, 1) == 1
    assert Effort({}).of(1000, 1) == 1000


def test_each_way_to_look_at_a_value_again_counts():
    assert Effort({"allOf": [{}, {}], "not": {}, "if": {}, "then": {}}).of(1, 0) == 6
    assert Effort({"$ref": "#/$defs/a", "$defs": {"a": {}}}).of(1, 0) == 2
    assert Effort({"dependentSchemas": {"a": {}}}).of(1, 0) == 2


def test_what_multiplies_is_counted_out():
    assert Effort(entangled(3)).of(1, 0) > 2**3
    assert Effort(entangled(30)).of(1, 0) >= 1_000_000


def test_a_reference_to_itself_ends():
    for schema in (
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$dynamicAnchor": "n", "not": {"$dynamicRef": "#n"}},
    ):
        assert Effort(schema).of(1, 0) < 10


def test_a_tree_costs_more_only_with_its_depth():
    tree: Schema = {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    assert Effort(tree).of(1, 60) < 200


def test_a_tree_whose_branches_are_looked_at_twice_doubles_with_each_level():
    twice: Schema = {
        "anyOf": [
            {"properties": {"left": {"$ref": "#"}}},
            {"properties": {"left": {"$ref": "#"}}},
        ]
    }
    effort = Effort(twice)
    assert effort.of(1, 5) < 1000
    assert effort.of(1, VALUE_DEPTH) >= 1_000_000


def test_what_is_for_any_member_is_for_the_named_ones_too():
    apart: Schema = {"properties": {"a": {"$ref": "#"}}}
    overlapping: Schema = {**apart, "patternProperties": {"x": {"$ref": "#"}}}
    assert Effort(apart).of(1, 20) < 100
    assert Effort(overlapping).of(1, 20) > 2**19
    items: Schema = {"prefixItems": [{}, {"$ref": "#"}], "contains": {"$ref": "#"}}
    assert Effort(items).of(1, 20) > 2**19


def test_patterns_and_long_lists_weigh_more():
    plain = Effort({"pattern": "^a+$"}).of(1, 0)
    assert plain > Effort({}).of(1, 0)
    assert Effort({"pattern": r"^(a+)+\1$"}).of(1, 0) > 100 * plain
    assert Effort({"enum": list(range(1000))}).of(1, 0) > 100


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/other.json"},
        {"$ref": "other.json"},
        {"properties": {"a": {"items": {"$ref": "http://169.254.169.254/"}}}},
        {"$id": "https://example.com/a/", "allOf": [{"$ref": "../b#/x"}]},
        {"$dynamicRef": "other#meta"},
    ],
)
def test_a_reference_that_leads_out_is_refused(schema: Schema):
    assert "nothing is fetched" in refused(schema)


DANGLING: list[Schema] = [
    {"$ref": "#/$defs/none"},
    {"$ref": "#none"},
    {"$ref": "#/properties/a/type", "properties": {"a": {"type": "string"}}},
    {"$ref": "#/allOf/7", "allOf": [{}]},
    {"$ref": "#/allOf/x", "allOf": [{}]},
    {"$ref": "#/a/b", "a": 3},
]


@pytest.mark.parametrize("schema", DANGLING, ids=str)
def test_a_reference_to_nothing_is_refused(schema: Schema):
    assert "no schema there" in refused(schema)


WITHIN: list[Schema] = [
    {"$ref": "#/$defs/a~1b~0%25", "$defs": {"a/b~%": {}}},
    {"$ref": "#/components/schemas/X", "components": {"schemas": {"X": {"type": "string"}}}},
    {"$ref": "#/allOf/0", "allOf": [{}]},
    {"$ref": "#x", "$defs": {"a": {"$anchor": "x"}}},
    {"$ref": "item", "$defs": {"a": {"$id": "item"}}},
    {"$id": "https://example.com/a", "$ref": "b", "$defs": {"b": {"$id": "b"}}},
    {"$id": "urn:uuid:1", "$ref": "#/$defs/b", "$defs": {"b": {}}},
    {"definitions": {"a": {"$id": "#old"}}, "$ref": "#old"},
    {"$ref": "#/$defs/a", "$defs": {"a": True}},
    {"$ref": "https://json-schema.org/draft/2020-12/schema"},
    {"$recursiveAnchor": True, "items": {"$recursiveRef": "#"}},
    {"enum": [{"$ref": "https://example.com/"}], "default": {"$ref": "nowhere"}},
    {"properties": {"$ref": {"type": "string"}}},
]


@pytest.mark.parametrize("schema", WITHIN, ids=str)
def test_a_reference_within_is_followed(schema: Schema):
    assert Effort(schema).of(1, 1) < 100


def test_ids_of_draft_4_are_spelt_differently():
    schema: Schema = {"$ref": "b", "definitions": {"a": {"id": "b"}}}
    assert Effort(schema, id_key="id").of(1, 1) == 2
    assert "not within it" in refused(schema)


def test_depth_and_number_are_bounded():
    deep: Schema = {}
    for _ in range(DEPTH + 2):
        deep = {"items": deep}
    assert "nested" in refused(deep)
    wide: Schema = {"allOf": [{"title": str(n)} for n in range(SUBSCHEMAS)]}
    assert "more than" in refused(wide)


def test_counting_itself_is_bounded():
    knot: Schema = {
        "$defs": {
            f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{m}"} for m in range(n)]} for n in range(100)
        },
        "$ref": "#/$defs/a99",
        "items": {"$ref": "#"},
    }
    for n in range(100):
        knot["$defs"][f"a{n}"]["properties"] = {
            f"p{m}": {"$ref": f"#/$defs/a{m}"} for m in range(45)
        }
    assert len(json.dumps(knot)) < 1_000_000
    assert "entangled" in refused(knot)
