"""Promises of wire/frontmatter: the one of SEP-2640 that entry and file say the same, and ours."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.wire.frontmatter import DEPTH, LIMIT, BadFrontmatter, read, same


def block(yaml: str) -> str:
    return f"---\n{yaml}\n---\n# The rest\n"


@pytest.mark.parametrize(
    "text",
    [
        "---\nname: a\n---\n",
        "---\nname: a\n---",
        "---\r\nname: a\r\n---\r\nbody",
        "\ufeff---  \nname: a\n---\t\nbody\n---\nmore: b\n---",
        "---\n# a comment\nname: a # another\n\n---\n",
    ],
)
def test_frontmatter_stands_between_two_lines_at_the_beginning(text: str):
    assert read(text) == {"name": "a"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "two lines of '---'"),
        ("name: a\n", "two lines of '---'"),
        ("\n---\nname: a\n---\n", "two lines of '---'"),
        ("---\nname: a\n", "two lines of '---'"),
        ("--- name: a ---", "two lines of '---'"),
        ("---\n---\n", "expected fields"),
        (block("just words"), "expected fields"),
        (block("- a list"), "expected fields"),
        (block("a: b: c"), "not YAML: .*, line 2"),
        (block("a: [1"), "not YAML"),
        (block("a: 'open"), "not YAML"),
        (block("a: \x07"), "not YAML"),
        (block("a: 1\n--- # two\nb: 2"), "one document, there are more"),
        (block("a: &x 1\nb: *x"), "anchors and aliases"),
        (block("a: &x [1]"), "anchors and aliases"),
        (block("a: !!int '3'"), "tags such as"),
        (block("a: !!python/object:os.system x"), "tags such as"),
        (block("a: 1\na: 2"), "'a' comes twice"),
        (block("? [a]\n: b"), "a key is a word"),
        (block("a: .inf"), "no number that everyone reads"),
        (block("a: -.INF"), "no number that everyone reads"),
        (block("a: .nan"), "no number that everyone reads"),
        (block("a: 1e999"), "no number that everyone reads"),
        (block("a: 9007199254740993"), "no number that everyone reads"),
        (block("a: " + "[" * (DEPTH + 1) + "]" * (DEPTH + 1)), "nested more than"),
        (block("a: " + "x" * (LIMIT + 20)), "within"),
    ],
)
def test_what_cannot_be_read_as_json_is_refused(text: str, why: str):
    with pytest.raises(BadFrontmatter, match=why):
        read(text)


@pytest.mark.parametrize(
    ("yaml", "value"),
    [
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("012", 12),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-07-28", "2026-07-28"),
        ("1.0", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("'1'", "1"),
        ('"\\u00e4\\n"', "ä\n"),
        ("Bash(git:*) Read", "Bash(git:*) Read"),
        ("|\n  two\n  lines", "two\nlines\n"),
        (">-\n  two\n  lines", "two lines"),
        ("two\n  lines", "two lines"),
        ("[1, two, {x: null}]", [1, "two", {"x": None}]),
        ("\n  - 1\n  - b: c", [1, {"b": "c"}]),
        ("\n  version: '2.1'\n  1: one", {"version": "2.1", "1": "one"}),
        ("{<<: {b: 1}}", {"<<": {"b": 1}}),
        ("😀", "😀"),
    ],
)
def test_values_are_those_of_yaml_1_2_s_core_schema(yaml: str, value: Any):
    found = read(block(f"a: {yaml}"))["a"]
    assert same(found, value), found


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, False, False),
        ({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]}, True),
        ({"a": None}, {}, False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({"a": 1}, [["a", 1]], False),
        ("1", 1, False),
    ],
)
def test_values_are_compared_as_json(one: Any, other: Any, alike: bool):
    assert same(one, other) is alike
    assert same(other, one) is alike


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,?\n\t \\0.1~é", max_size=60))
def test_any_text_is_read_or_refused(text: str):
    with contextlib.suppress(BadFrontmatter):
        assert isinstance(read(block(text)), dict)
