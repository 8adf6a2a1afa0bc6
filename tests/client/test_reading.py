"""Answers are read tolerantly: what is wrong with one costs no more than itself."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from interlock.client.reading import (
    read_contents,
    read_page,
    read_prompt,
    read_result,
    read_tool_result,
)
from interlock.errors import InvalidMessage
from interlock.wire.completion import CompleteResult
from interlock.wire.content import Image, Text, Unknown
from interlock.wire.meta import SERVER_INFO, RawResult
from interlock.wire.tools import Tool


def answer(value: Any) -> RawResult:
    return RawResult(body=json.dumps(value).encode(), relayed=True)


def test_a_tools_answer_is_content_structure_and_whether_it_failed():
    result = read_tool_result(
        answer(
            {
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image", "data": "aGk=", "mimeType": "image/png"},
                    {"type": "text", "text": "b"},
                ],
                "structuredContent": {"n": 1},
                "isError": True,
                "_meta": {SERVER_INFO: {"name": "s", "version": "1"}, "example.com/x": 1},
                "resultType": "complete",
            }
        )
    )
    assert result.text == "a\nb"
    assert result.content[1] == Image(data="aGk=", mime_type="image/png")
    assert (result.structured, result.has_structured, result.is_error) == ({"n": 1}, True, True)
    assert result.meta == {"example.com/x": 1}


def test_null_as_structured_content_is_told_from_none():
    """A JSON null is a value since 2026-07-28."""
    null = read_tool_result(answer({"content": [], "structuredContent": None}))
    none = read_tool_result(answer({"content": []}))
    assert (null.structured, null.has_structured) == (None, True)
    assert (none.structured, none.has_structured) == (None, False)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ({}, []),
        ({"content": None}, []),
        ({"content": [{"type": "text", "text": "a"}], "isError": None}, [Text(text="a")]),
        ({"content": [{"type": "text", "text": "a", "annotations": None}]}, [Text(text="a")]),
        ({"content": [{"type": "text", "text": "a", "new": 1}], "more": 2}, [Text(text="a")]),
        (
            {"content": [{"type": "hologram", "depth": 3}, {"type": "text", "text": "a"}]},
            [Unknown(kind="hologram", raw={"type": "hologram", "depth": 3}), Text(text="a")],
        ),
        (
            {"content": [{"type": "text"}]},
            [Unknown(kind="text", raw={"type": "text"})],
        ),
        ({"content": ["bare"]}, [Text(text="bare")]),
        ({"content": "bare"}, [Text(text="bare")]),
        ({"content": {"type": "text", "text": "a"}}, [Text(text="a")]),
        ({"content": [7]}, [Unknown(kind="", raw={"": 7})]),
        ({"content": [], "resultType": None}, []),
    ],
)
def test_a_tools_answer_that_is_not_quite_right_is_read(value: Any, content: list[Any]):
    assert read_tool_result(answer(value)).content == content


@pytest.mark.parametrize("value", [[], 1, "x", {"content": [], "isError": "no"}])
def test_an_answer_that_is_none_is_an_error_of_the_peer(value: Any):
    with pytest.raises(InvalidMessage):
        read_tool_result(answer(value))


def test_a_question_in_place_of_an_answer_says_so():
    value = {"resultType": "input_required", "requestState": "x"}
    with pytest.raises(InvalidMessage, match="asks for input"):
        read_tool_result(answer(value))
    with pytest.raises(InvalidMessage, match="asks for input"):
        read_contents(answer(value), "x://y")
    with pytest.raises(InvalidMessage, match="asks for input"):
        read_prompt(answer(value))


TOOL: dict[str, Any] = {"name": "a", "inputSchema": {"type": "object"}}


def tools(value: Any) -> tuple[list[Tool], str | None]:
    return read_page(answer(value), "tools", Tool, "tools")


def test_a_page_is_its_entries_and_the_next_cursor():
    found, cursor = tools({"tools": [TOOL], "nextCursor": "", "ttlMs": 5})
    assert found == [Tool(name="a", input_schema={"type": "object"})]
    assert cursor == ""
    assert tools({"tools": []}) == ([], None)
    assert tools({"tools": [], "nextCursor": None}) == ([], None)


def test_nulls_in_a_page_are_absences_but_not_in_schemas():
    schema = {"type": "object", "properties": {"a": {"default": None}}}
    found, _ = tools(
        {
            "tools": [
                {
                    "name": "a",
                    "title": None,
                    "annotations": {"readOnlyHint": None},
                    "icons": None,
                    "inputSchema": schema,
                    "execution": None,
                }
            ]
        }
    )
    assert found[0].input_schema == schema
    assert found[0].title is None


def test_an_entry_that_cannot_be_read_is_left_out_and_said(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        found, cursor = tools({"tools": [{"name": 7}, TOOL, "x"], "nextCursor": "c"})
    assert [tool.name for tool in found] == ["a"]
    assert cursor == "c"
    assert "an entry in the server's list of tools is left out" in caplog.text


@pytest.mark.parametrize("value", [[], {}, {"tools": 1}, {"tools": None}])
def test_what_is_no_page_is_an_error_of_the_peer(value: Any):
    with pytest.raises(InvalidMessage, match="tools"):
        tools(value)


@pytest.mark.parametrize("ttl", ["60000", 1.5, True, None, {}])
@pytest.mark.parametrize("scope", ["everybody", 7, None])
def test_a_hint_that_is_none_costs_no_answer(ttl: Any, scope: Any):
    """2026-07-28 § Caching: what cannot be read means that nothing may be kept."""
    contents = [{"uri": "a:b", "text": "x"}]
    raw = answer({"contents": contents, "ttlMs": ttl, "cacheScope": scope})
    read = read_contents(raw, "a:b")
    assert read.contents[0].text == "x"
    assert (read.ttl_ms, read.cache_scope) == (None, None)


def test_contents_without_a_uri_are_those_that_were_asked_for():
    found = read_contents(answer({"contents": [{"text": "a", "mimeType": None}]}), "x://y")
    assert (found.contents[0].uri, found.contents[0].text) == ("x://y", "a")
    with pytest.raises(InvalidMessage, match="ReadResourceResult"):
        read_contents(answer({"contents": "x"}), "x://y")


def test_a_prompt_keeps_content_that_nobody_knows():
    found = read_prompt(
        answer(
            {
                "description": None,
                "messages": [
                    {"role": "user", "content": {"type": "hologram"}},
                    {"role": "assistant", "content": {"type": "text", "text": "a"}},
                ],
            }
        )
    )
    assert [message.role for message in found.messages] == ["user", "assistant"]
    assert found.messages[0].content == Unknown(kind="hologram", raw={"type": "hologram"})
    assert found.messages[1].content == Text(text="a")


def test_other_results_are_read_with_nulls_as_absences():
    value = {"completion": {"values": ["a"], "total": None, "hasMore": None}}
    assert read_result(answer(value), CompleteResult).completion.values == ["a"]
    with pytest.raises(InvalidMessage, match="is no CompleteResult"):
        read_result(answer({"completion": 1}), CompleteResult)
