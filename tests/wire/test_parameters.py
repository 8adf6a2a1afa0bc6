"""Promises of wire/parameters: the specification's, for Streamable HTTP of 2026-07-28.

https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.wire.parameters import BadAnnotation, Mirrored, disagreement, mirrored, values

Json = dict[str, Any]

REGION = Mirrored("Mcp-Param-Region", ("region",), "string")
COUNT = Mirrored("Mcp-Param-Count", ("count",), "integer")
DRY = Mirrored("Mcp-Param-Dry", ("dry",), "boolean")
DEEP = Mirrored("Mcp-Param-Deep", ("where", "zone"), "string")
ALL = (REGION, COUNT, DRY, DEEP)


def schema(**properties: Any) -> Json:
    return {"type": "object", "properties": properties}


def named(name: Any, kind: Any = "string") -> Json:
    return {"type": kind, "x-mcp-header": name}


def raw(arguments: Any) -> bytes:
    return json.dumps(arguments).encode()


def received(**headers: str) -> list[tuple[bytes, bytes]]:
    mine = [
        (b"mcp-param-" + name.encode(), value.encode("latin-1")) for name, value in headers.items()
    ]
    return [(b"host", b"localhost"), (b"mcp-name", b"tool"), *mine]


def test_most_schemas_want_nothing_mirrored() -> None:
    assert mirrored({"type": "object"}) == ()
    assert mirrored(schema(region={"type": "string"})) == ()


def test_annotated_properties_are_found_at_any_depth_of_properties() -> None:
    found = mirrored(
        schema(
            region=named("Region"),
            query={"type": "string"},
            where=schema(zone=named("Deep")),
            count=named("Count", "integer"),
            dry=named("Dry", "boolean"),
        )
    )
    assert found == (REGION, COUNT, DRY, DEEP)
    assert DEEP.argument == "where.zone"


def test_a_property_may_be_called_like_a_keyword_or_like_the_annotation() -> None:
    found = mirrored(
        schema(
            properties=schema(items=named("A")),
            default=named("B"),
            **{"x-mcp-header": {"type": "string"}},
        )
    )
    assert [each.path for each in found] == [("default",), ("properties", "items")]


@pytest.mark.parametrize("keyword", ["default", "const", "examples", "enum"])
def test_what_looks_annotated_inside_of_data_is_data(keyword: str) -> None:
    assert mirrored(schema(a={keyword: [{"x-mcp-header": "No"}]})) == ()


@pytest.mark.parametrize(
    "name",
    ["", " ", "My Region", "Region:Primary", "Région", "Region\t1", "a\r\nb", "a\0", "(a)", "a\n"],
)
def test_a_name_that_is_no_header_token_is_refused(name: str) -> None:
    with pytest.raises(BadAnnotation, match="value: "):
        mirrored(schema(value=named(name)))


@pytest.mark.parametrize("name", ["!#$%&'*+-.^_`|~", "Method", "0"])
def test_any_token_is_a_name(name: str) -> None:
    assert mirrored(schema(value=named(name)))[0].header == f"Mcp-Param-{name}"


@pytest.mark.parametrize("name", [None, 1, True, ["Region"], {"name": "Region"}])
def test_a_name_that_is_no_string_is_refused(name: Any) -> None:
    with pytest.raises(BadAnnotation, match="must be a string"):
        mirrored(schema(value=named(name)))


@pytest.mark.parametrize(
    "kind", ["number", "object", "array", "null", "String", ["string", "null"], None, 1]
)
def test_only_strings_integers_and_booleans_can_be_mirrored(kind: Any) -> None:
    with pytest.raises(BadAnnotation, match="string, integer or boolean by itself, got"):
        mirrored(schema(value=named("Value", kind)))


def test_a_property_without_a_type_cannot_be_mirrored() -> None:
    with pytest.raises(BadAnnotation, match="got no type"):
        mirrored(schema(value={"x-mcp-header": "Value"}))


def test_two_names_that_differ_in_case_alone_are_one_too_many() -> None:
    with pytest.raises(BadAnnotation, match=r"deep\.two and one are both mirrored"):
        mirrored(schema(one=named("Region"), deep=schema(two=named("region"))))


@pytest.mark.parametrize(
    "place",
    [
        {"x-mcp-header": "Root"},
        {"properties": {"a": {"items": named("A")}}},
        {"properties": {"a": {"prefixItems": [named("A")]}}},
        {"properties": {"a": {"items": {"properties": {"b": named("A")}}}}},
        {"oneOf": [{"properties": {"a": named("A")}}]},
        {"anyOf": [{"properties": {"a": named("A")}}]},
        {"allOf": [{"properties": {"a": named("A")}}]},
        {"not": {"properties": {"a": named("A")}}},
        {"if": {"properties": {"a": named("A")}}},
        {"then": {"properties": {"a": named("A")}}},
        {"else": {"properties": {"a": named("A")}}},
        {"$defs": {"a": named("A")}},
        {"$defs": {"a": {"properties": {"b": named("A")}}}},
        {"patternProperties": {"^a": named("A")}},
        {"additionalProperties": named("A")},
        {"dependentSchemas": {"a": {"properties": {"b": named("A")}}}},
    ],
)
def test_an_annotation_that_properties_alone_do_not_lead_to_is_refused(place: Json) -> None:
    with pytest.raises(BadAnnotation, match="no chain of `properties` leads"):
        mirrored({"type": "object", **place})


def test_a_schema_of_any_depth_is_read() -> None:
    deep: Json = named("Deep")
    for _ in range(5_000):
        deep = schema(a=deep)
    assert len(mirrored(deep)[0].path) == 5_000


def test_values_are_sent_as_their_kind_is_written() -> None:
    arguments = raw(
        {"region": "us-west1", "count": -7, "dry": False, "where": {"zone": "a"}, "other": 1}
    )
    assert values(ALL, arguments) == {
        "Mcp-Param-Region": "us-west1",
        "Mcp-Param-Count": "-7",
        "Mcp-Param-Dry": "false",
        "Mcp-Param-Deep": "a",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        b"",
        b"{}",
        b"null",
        b'{"region":null,"where":null}',
        b'{"where":{}}',
        b'{"where":"x"}',
        b"[]",
    ],
)
def test_what_is_absent_or_null_is_not_sent(arguments: bytes) -> None:
    assert values(ALL, arguments) == {}
    assert disagreement(ALL, arguments, received()) is None


def test_an_empty_string_is_a_value() -> None:
    assert values([REGION], raw({"region": ""})) == {"Mcp-Param-Region": ""}
    assert disagreement([REGION], raw({"region": ""}), received(region="")) is None
    assert disagreement([REGION], raw({"region": ""}), received()) is not None


def test_a_value_that_is_no_header_is_sent_as_base64() -> None:
    sent = values([REGION], raw({"region": "Hello, 世界"}))
    assert sent == {"Mcp-Param-Region": "=?base64?SGVsbG8sIOS4lueVjA==?="}


@pytest.mark.parametrize("written", [b"42.0", b"4.2e1", b"420e-1", b"42"])
def test_an_integer_is_sent_in_decimal_however_json_writes_it(written: bytes) -> None:
    assert values([COUNT], b'{"count": %b }' % written) == {"Mcp-Param-Count": "42"}


@pytest.mark.parametrize("value", [b"{}", b"[1]", b'"\xff"'])
def test_what_no_header_can_say_is_left_out(value: bytes) -> None:
    arguments = b'{"region":%b}' % value
    assert values([REGION], arguments) == {}
    assert disagreement([REGION], arguments, received()) is None
    assert "fits no header" in (disagreement([REGION], arguments, received(region="x")) or "")


def test_a_scalar_of_another_kind_is_sent_as_written_for_the_server_to_judge() -> None:
    arguments = raw({"region": 5, "count": 1.5, "dry": "yes"})
    sent = values(ALL, arguments)
    assert list(sent.values()) == ["5", "1.5", "yes"]
    assert disagreement(ALL, arguments, received(region="5", count="1.5", dry="yes")) is None


def test_header_names_have_no_case() -> None:
    parameter = Mirrored("Mcp-Param-REGION", ("region",), "string")
    assert disagreement([parameter], raw({"region": "x"}), received(region="x")) is None


@pytest.mark.parametrize(
    ("arguments", "headers", "said"),
    [
        ({"region": "a"}, {}, "Mcp-Param-Region is missing; the argument region says 'a'"),
        ({"region": "a"}, {"region": "b"}, "Mcp-Param-Region says 'b', the argument region 'a'"),
        ({"region": "a"}, {"region": "A"}, "says 'A'"),
        ({}, {"region": "b"}, "is absent"),
        ({"region": None}, {"region": "b"}, "is absent"),
        ({"region": "a"}, {"region": "=?base64?eA?="}, "Mcp-Param-Region: expected strict Base64"),
        ({"region": "a"}, {"region": "\xe9"}, "expected visible ASCII"),
        ({"dry": True}, {"dry": "True"}, "says 'True', the argument dry 'true'"),
        ({"dry": True}, {"dry": "1"}, "says '1'"),
        ({"count": 42}, {"count": "43"}, "says '43', the argument count '42'"),
        ({"count": 42}, {"count": "4_2"}, "says '4_2'"),
        ({"count": 2**53 + 1}, {"count": str(2**53)}, "says"),
        ({"where": {"zone": "a"}}, {"deep": "b"}, "the argument where.zone 'a'"),
    ],
)
def test_what_differs_is_said(arguments: Json, headers: dict[str, str], said: str) -> None:
    assert said in (disagreement(ALL, raw(arguments), received(**headers)) or "nothing")


def test_integers_are_compared_as_numbers() -> None:
    assert disagreement([COUNT], raw({"count": 42}), received(count="42.0")) is None
    assert disagreement([COUNT], raw({"count": 42.0}), received(count="42")) is None
    far = raw({"count": 10**30})
    assert disagreement([COUNT], far, received(count="1" + "0" * 30)) is None


def test_base64_is_read_before_it_is_compared_and_half_marked_is_literal() -> None:
    assert disagreement([REGION], raw({"region": "x"}), received(region="=?base64?eA==?=")) is None
    literal = "=?base64?eA=="
    assert disagreement([REGION], raw({"region": literal}), received(region=literal)) is None


def test_a_header_that_came_twice_is_refused() -> None:
    twice = [*received(region="a"), *received(region="a")]
    assert "came twice" in (disagreement([REGION], raw({"region": "a"}), twice) or "")


def test_headers_of_no_parameter_are_somebody_elses() -> None:
    assert disagreement([REGION], raw({"region": "a"}), received(region="a", other="z")) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "region": json_values,
            "count": json_values,
            "dry": json_values,
            "where": json_values | st.fixed_dictionaries({"zone": json_values}),
        },
    )
)
def test_what_is_sent_agrees_with_the_arguments_it_came_from(arguments: Json) -> None:
    body = raw(arguments)
    sent = [(name.lower().encode(), text.encode()) for name, text in values(ALL, body).items()]
    assert disagreement(ALL, body, sent) is None


schemas: st.SearchStrategy[Json] = st.dictionaries(
    st.sampled_from(["properties", "x-mcp-header", "type", "items", "a"]),
    json_values | st.deferred(lambda: schemas),
    max_size=4,
)


@given(schemas)
def test_any_schema_is_read_or_refused(value: Json) -> None:
    with contextlib.suppress(BadAnnotation):
        mirrored(value)
