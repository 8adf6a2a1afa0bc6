"""Structured results held against what their tools promised."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tests.joined import Joined

from interlock import Server, ToolError
from interlock.client import promised as room
from interlock.client.promised import Promised
from interlock.client.reading import ToolResult
from interlock.wire.content import Text
from interlock.wire.tools import Tool

NUMBER: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "number"}}}


def tool(schema: Any, name: str = "t") -> Tool:
    return Tool(name=name, input_schema={"type": "object"}, output_schema=schema)


def result(structured: Any = ..., *, is_error: bool = False) -> ToolResult:
    if structured is ...:
        return ToolResult(content=[], is_error=is_error)
    return ToolResult(content=[], structured=structured, has_structured=True, is_error=is_error)


def complaint(schema: Any, got: ToolResult) -> str | None:
    promised = Promised()
    promised.learn([tool(schema)])
    return promised.hold("t", got).complaint


def test_what_was_promised_is_left_as_it_is():
    promised = Promised()
    promised.learn([tool(NUMBER)])
    good = result({"n": 1})
    assert promised.hold("t", good) is good


def test_what_was_not_is_marked_and_logged(caplog: pytest.LogCaptureFixture):
    """A client reads tolerantly: the answer is still the server's, and still there."""
    promised = Promised()
    promised.learn([tool(NUMBER)])
    with caplog.at_level(logging.WARNING):
        held = promised.hold("t", result({"n": "one"}))
    assert held.complaint == 'n: expected number, got "one"'
    assert held.structured == {"n": "one"}
    assert "'t' is not what it promised" in caplog.text


def test_nothing_is_not_what_was_promised_but_null_may_be():
    assert "no structured content" in (complaint(NUMBER, result()) or "")
    assert complaint({"type": "null"}, result(None)) is None
    assert complaint({"type": ["array", "null"]}, result([1])) is None


def test_an_error_is_held_to_nothing():
    """2026-07-28 § Tools: what went wrong is told in content."""
    assert complaint(NUMBER, result(is_error=True)) is None
    assert complaint(NUMBER, result({"n": "one"}, is_error=True)) is None


def test_a_tool_that_promised_nothing_or_was_never_listed_is_held_to_nothing():
    assert complaint(None, result({"n": "one"})) is None
    assert Promised().hold("t", result({"n": "one"})).complaint is None


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "https://example.com/x.json"}, {"type": "nonsense"}, {"$schema": "https://my.own"}],
)
def test_a_schema_that_cannot_be_used_spoils_no_result(
    schema: Any, caplog: pytest.LogCaptureFixture
):
    promised = Promised()
    promised.learn([tool(schema)])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert promised.hold("t", result({"n": "one"})).complaint is None
    assert caplog.text.count("are not checked") == 1


def test_a_later_list_replaces_what_was_promised():
    promised = Promised()
    promised.learn([tool(NUMBER)])
    assert promised.hold("t", result({"n": 1})).complaint is None
    promised.learn([tool({"required": ["m"]})])
    assert promised.hold("t", result({"n": 1})).complaint is not None
    promised.learn([tool(None)])
    assert promised.hold("t", result({"n": 1})).complaint is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "TOOLS_LIMIT", 2)
    promised = Promised()
    promised.learn([tool(NUMBER, name) for name in "abc"])
    bad = result({"n": "one"})
    assert [promised.hold(name, bad).complaint is None for name in "abc"] == [True, False, False]


async def test_a_client_marks_what_it_gets(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def count(fail: bool = False) -> dict[str, int]:
        if fail:
            raise ToolError("no")
        return {"n": 1}

    async with joined(server, era) as client:
        await client.list_tools()
        good = await client.call_tool("count")
        assert (good.structured, good.complaint) == ({"n": 1}, None)
        failed = await client.call_tool("count", {"fail": True})
        assert (failed.is_error, failed.complaint) == (True, None)
        client._promised.learn([tool({"required": ["m"]}, "count")])  # pyright: ignore[reportPrivateUsage]
        bad = await client.call_tool("count")
        assert bad.complaint == 'the value: expected a member "m", there is none'
        assert bad.content == [Text(text='{"n":1}')]
