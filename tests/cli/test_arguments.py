"""`key=value` read by a schema."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.arguments import by_schema, described, missing, pairs, whole
from interlock.cli.problem import USAGE, Problem


def read(kind: Any, *values: str, **root: Any) -> Any:
    """What *values* become where the schema of their key is *kind*."""
    schema = {"type": "object", "properties": {"key": kind}, **root}
    return by_schema([("key", value) for value in values], schema)["key"]


@pytest.mark.parametrize(
    ("schema", "typed", "value"),
    [
        ({"type": "string"}, "5", "5"),
        ({"type": "string"}, "", ""),
        ({"type": "string"}, "a=b", "a=b"),
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "-5", -5),
        ({"type": "integer"}, "5.0", 5),
        ({"type": "number"}, "5", 5),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "No", False),
        ({"type": "null"}, "null", None),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "array", "items": {"type": "string"}}, "one", ["one"]),
        ({"type": "array", "items": {"type": "integer"}}, "1", [1]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "text", "text"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text", "text"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "5", 5),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, '"5"', "5"),
        (
            {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
            "[1]",
            [1],
        ),
        ({"enum": ["open", "done"]}, "open", "open"),
        ({"enum": [1, 2]}, "2", 2),
        ({"const": True}, "true", True),
        ({}, "5", 5),
        ({}, "text", "text"),
        (True, '{"a": 1}', {"a": 1}),
    ],
)
def test_a_value_is_read_as_its_schema_wants_it(schema: Any, typed: str, value: Any):
    read_value = read(schema, typed)
    assert read_value == value
    assert type(read_value) is type(value)


def test_references_are_followed_within_the_schema():
    definitions = {"Count": {"type": "integer"}, "Loop": {"$ref": "#/$defs/Loop"}}
    assert read({"$ref": "#/$defs/Count"}, "5", **{"$defs": definitions}) == 5
    assert read({"$ref": "#/$defs/Loop"}, "5", **{"$defs": definitions}) == 5
    assert read({"$ref": "#/$defs/Missing"}, "text") == "text"


def test_a_key_that_comes_several_times_makes_a_list():
    schema = {"type": "array", "items": {"type": "integer"}}
    assert read(schema, "1", "2") == [1, 2]
    assert read({"anyOf": [schema, {"type": "null"}]}, "1", "2") == [1, 2]


def test_a_key_that_takes_one_value_refuses_two():
    with pytest.raises(Problem, match="key takes one value, and 2 were given"):
        read({"type": "string"}, "1", "2")


@pytest.mark.parametrize(
    ("schema", "typed", "complaint"),
    [
        ({"type": "integer"}, "many", "key must be a whole number; got 'many'."),
        ({"type": "integer"}, "1.5", "key must be a whole number; got '1.5'."),
        ({"type": "integer"}, "true", "key must be a whole number; got 'true'."),
        ({"type": "boolean"}, "perhaps", "key must be true or false; got 'perhaps'."),
        ({"type": "object"}, "[1]", "key must be an object; got '[1]'."),
        ({"type": ["integer", "null"]}, "x", "key must be a whole number; got 'x'."),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_plain_words(
    schema: Any, typed: str, complaint: str
):
    with pytest.raises(Problem) as caught:
        read(schema, typed)
    assert caught.value.what == complaint
    assert caught.value.code == USAGE


def test_a_misspelt_key_is_refused_with_the_likely_one():
    with pytest.raises(Problem) as caught:
        by_schema([("titel", "x")], {"properties": {"title": {"type": "string"}}})
    assert caught.value.more == ("Did you mean 'title'?",)


def test_unnamed_keys_are_sent_where_the_schema_allows_them():
    assert by_schema([("any", "5")], {"type": "object"}) == {"any": 5}
    named: dict[str, Any] = {"properties": {"a": {}}, "additionalProperties": True}
    assert by_schema([("any", "5")], named) == {"any": 5}
    with pytest.raises(Problem):
        by_schema([("any", "5")], {"properties": {}, "additionalProperties": False})


def test_what_is_required_and_not_there_is_named():
    assert missing({"a": 1}, {"required": ["a", "b"]}) == ["b"]
    assert missing({}, {}) == []


def test_arguments_are_described_a_line_each():
    schema = {
        "properties": {
            "path": {"type": "string", "description": "Where\nand more"},
            "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "status": {"enum": ["open", "done"]},
        },
        "required": ["path"],
    }
    assert described(schema) == [
        "path (string): Where",
        "count (integer, optional)",
        'status ("open" | "done", optional)',
    ]


def test_a_word_without_equals_is_no_argument():
    with pytest.raises(Problem, match="'title' is no argument: key=value is expected"):
        pairs(["title"])


def test_an_at_sign_stands_for_what_a_file_holds(tmp_path: Path):
    file = tmp_path / "text"
    file.write_text("held\n")
    assert pairs([f"a=@{file}", "b=@@literal", "c=x@y"]) == [
        ("a", "held\n"),
        ("b", "@literal"),
        ("c", "x@y"),
    ]


def test_at_and_a_dash_stand_for_stdin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("typed"))
    assert pairs(["a=@-"]) == [("a", "typed")]


def test_a_file_that_cannot_be_read_is_named_and_the_way_around_it(tmp_path: Path):
    with pytest.raises(Problem, match=r"nothing cannot be read: No such file") as caught:
        pairs([f"a=@{tmp_path}/nothing"])
    assert "double it" in caught.value.more[0]
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(Problem, match="no text in UTF-8"):
        pairs([f"a=@{tmp_path}/binary"])


def test_all_arguments_at_once_are_an_object(tmp_path: Path):
    assert whole('{"a": [1]}') == {"a": [1]}
    (tmp_path / "all.json").write_text('{"a": 2}')
    assert whole(f"@{tmp_path}/all.json") == {"a": 2}
    with pytest.raises(Problem, match="an object is expected, not '\\[1\\]'"):
        whole("[1]")
    with pytest.raises(Problem, match=r"is no JSON: .* at character 2"):
        whole("{a: 1}")
