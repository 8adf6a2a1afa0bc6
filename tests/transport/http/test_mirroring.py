"""What tools want mirrored is learnt from their list, sent with calls, and found out when unknown."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import Raw
from tests.peers import Desk, Json, said, soon
from tests.transport.http.host import HostEngine
from tests.transport.http.test_client import URL, home, settle, text_of

from interlock.errors import HEADER_MISMATCH, ConnectionLost, RpcError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.transport.http import mirroring as room
from interlock.transport.http.asgi import App
from interlock.transport.http.client import HttpLink
from interlock.transport.http.mirroring import Mirroring
from interlock.wire.meta import PagedParams, RawResult, Result
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import TOOLS_CHANGED
from interlock.wire.tools import CallToolParams, ListToolsResult, Tool
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision


def mirrors(**headers: str) -> Json:
    """An input schema whose members are mirrored in headers."""
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "x-mcp-header": header} for name, header in headers.items()
        },
    }


PLAIN: Json = {"type": "object"}
BAD = mirrors(a="not a token")


def page(*tools: tuple[str, Any], **more: Any) -> RawResult:
    listed = [{"name": name, "inputSchema": schema} for name, schema in tools]
    return RawResult(body=Raw(json.dumps({"tools": listed, **more}).encode()))


def named(name: str, arguments: Any = None) -> Call:
    params = CallToolParams(name=name, arguments=Raw(json.dumps(arguments or {}).encode()))
    return Call(BY_NAME["tools/call"], params, Envelope(LATEST_MODERN))


def names(result: RawResult) -> list[str]:
    return [tool["name"] for tool in json.loads(bytes(result.body))["tools"]]


def sent(knows: Mirroring, name: str, arguments: Any) -> Mapping[str, str]:
    call = named(name, arguments)
    return knows.headers(knows.wanted(call), call)


def test_what_was_listed_is_sent():
    knows = Mirroring("it")
    assert names(knows.learn(page(("a", mirrors(x="Region")), ("b", PLAIN)))) == ["a", "b"]
    assert sent(knows, "a", {"x": "eu"}) == {"mcp-param-region": "eu"}
    assert sent(knows, "a", {"x": None}) == {}
    assert sent(knows, "a", {"x": "grün"}) == {"mcp-param-region": "=?base64?Z3LDvG4=?="}
    assert knows.wanted(named("b")) == ()
    assert knows.wanted(named("c")) == ()


def test_a_page_without_wishes_is_handed_on_unread():
    knows = Mirroring("it")
    for body in (b'{"tools":[{"name":"a","inputSchema":{}}]}', b"nonsense", b"[1]"):
        result = RawResult(body=Raw(body))
        assert knows.learn(result) is result


def test_a_tool_with_a_bad_wish_is_left_out_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
):
    """2026-07-28 § Tools: the other tools MUST stay."""
    knows = Mirroring("http://it/mcp")
    with caplog.at_level(logging.WARNING):
        found = knows.learn(
            page(("good", mirrors(x="X")), ("bad", BAD), ("other", PLAIN), nextCursor="n", _meta={})
        )
    assert names(found) == ["good", "other"]
    assert json.loads(bytes(found.body))["nextCursor"] == "n"
    assert "'bad' of http://it/mcp is left out" in caplog.text
    assert "'not a token'" in caplog.text


def test_what_cannot_be_read_is_kept_for_whoever_reads_it_next():
    knows = Mirroring("it")
    odd: list[Any] = [
        1,
        None,
        {"name": 3, "inputSchema": {}},
        {"name": "x"},
        {"name": "y", "inputSchema": []},
    ]
    body = json.dumps({"tools": [*odd, {"name": "a", "inputSchema": mirrors(x="X")}]})
    result = RawResult(body=Raw(body.encode()))
    assert knows.learn(result) is result
    assert sent(knows, "a", {"x": "1"}) == {"mcp-param-x": "1"}
    for body in (b'{"tools":7,"x-mcp-header":1}', b'"x-mcp-header"'):
        result = RawResult(body=Raw(body))
        assert knows.learn(result) is result


def test_a_later_list_takes_wishes_back():
    knows = Mirroring("it")
    knows.learn(page(("a", mirrors(x="X")), ("b", mirrors(x="X")), ("c", mirrors(x="X"))))
    knows.learn(page(("a", PLAIN), ("b", BAD)))
    assert [bool(knows.wanted(named(name))) for name in "abc"] == [False, False, True]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "TOOLS_LIMIT", 2)
    knows = Mirroring("it")
    knows.learn(page(*((name, mirrors(x="X")) for name in "abcd")))
    assert [bool(knows.wanted(named(name))) for name in "abcd"] == [False, False, True, True]


# Over HTTP.


class Strict(Desk):
    """A service with one tool, which refuses calls that do not mirror what it wants mirrored."""

    def __init__(self, header: str | None = "X") -> None:
        super().__init__(strict=self.strict)
        self.header = header
        self.lists = 0
        self.pages = 1
        self.listing: Exception | None = None
        self.engine: HostEngine | None = None

    async def _handle(self, call: Call) -> Result:
        if call.method != "tools/list":
            return await super()._handle(call)
        self.lists += 1
        if self.listing is not None:
            raise self.listing
        assert isinstance(call.params, PagedParams)
        number = int(call.params.cursor or "1")
        more = None if number >= self.pages else str(number + 1)
        schema = mirrors(x=self.header) if self.header is not None else PLAIN
        tools = [Tool(name="strict", input_schema=schema)] if more is None else []
        return ListToolsResult(tools=tools, next_cursor=more)

    async def strict(self, call: Call) -> Result:
        assert self.engine is not None
        got = {
            name: value
            for name, value in self.engine.requests[-1].headers.items()
            if name.startswith("mcp-param-")
        }
        if got != ({f"mcp-param-{self.header.lower()}": "1"} if self.header is not None else {}):
            raise RpcError(HEADER_MISMATCH, f"mismatch: {got}")
        return said("ok")


class Joined:
    def __init__(self, desk: Strict) -> None:
        self.desk = desk
        self.app = App(desk)
        self.engine = desk.engine = HostEngine(self.app)
        self.heard: list[str] = []
        self.link = HttpLink(
            URL, self.engine, home(), on_notice=lambda method, _: self.heard.append(method)
        )

    async def open(self, revision: Revision = LATEST_MODERN) -> HttpLink:
        await settle(self.link, revision)
        return self.link

    async def close(self) -> None:
        await soon(self.link.close())
        await self.app.stop()

    def posts(self) -> list[str]:
        return [json.loads(request.body or b"{}")["method"] for request in self.engine.requests]


def call(link: HttpLink) -> Call:
    assert link.outgoing is not None
    made = named("strict", {"x": "1"})
    made.envelope = link.outgoing.envelope
    return made


async def list_tools(link: HttpLink) -> RawResult:
    assert link.outgoing is not None
    return await soon(
        link.handle(Call(BY_NAME["tools/list"], PagedParams(), link.outgoing.envelope))
    )


async def test_a_call_of_a_listed_tool_is_right_the_first_time():
    joined = Joined(Strict())
    link = await joined.open()
    await list_tools(link)
    assert text_of(await soon(link.handle(call(link)))) == "ok"
    assert joined.posts() == ["tools/list", "tools/call"]
    await joined.close()


async def test_a_call_of_a_tool_that_was_never_listed_is_recovered():
    """2026-07-28 § Streamable HTTP: on a mismatch list the tools again, and call once more."""
    desk = Strict()
    desk.pages = 3
    joined = Joined(desk)
    link = await joined.open()
    assert text_of(await soon(link.handle(call(link)))) == "ok"
    assert joined.posts() == ["tools/call", *["tools/list"] * 3, "tools/call"]
    assert joined.heard == []
    assert text_of(await soon(link.handle(call(link)))) == "ok"
    assert len(joined.posts()) == 6
    await joined.close()


@pytest.mark.parametrize("after", ["Y", None])
async def test_a_tool_whose_wishes_changed_is_recovered_and_the_change_told(after: str | None):
    joined = Joined(Strict())
    link = await joined.open()
    await list_tools(link)
    joined.desk.header = after
    assert text_of(await soon(link.handle(call(link)))) == "ok"
    assert joined.heard == [TOOLS_CHANGED]
    await joined.close()


async def test_calls_at_once_list_once():
    joined = Joined(Strict())
    link = await joined.open()
    results = await asyncio.gather(*(soon(link.handle(call(link))) for _ in range(5)))
    assert [text_of(result) for result in results] == ["ok"] * 5
    assert joined.desk.lists == 1
    await joined.close()


async def test_a_mismatch_that_listing_does_not_explain_is_the_callers():
    joined = Joined(Strict(None))
    joined.desk.tools["strict"] = refuse
    link = await joined.open()
    with pytest.raises(RpcError) as caught:
        await soon(link.handle(call(link)))
    assert caught.value.code == HEADER_MISMATCH
    assert joined.posts() == ["tools/call", "tools/list"]
    await joined.close()


async def test_a_mismatch_is_recovered_from_once():
    joined = Joined(Strict())
    joined.desk.tools["strict"] = refuse
    link = await joined.open()
    with pytest.raises(RpcError, match="refused"):
        await soon(link.handle(call(link)))
    assert joined.posts() == ["tools/call", "tools/list", "tools/call"]
    await joined.close()


@pytest.mark.parametrize("failure", [RpcError(-32000, "no list"), ConnectionLost("gone")])
async def test_where_listing_fails_the_mismatch_itself_is_told(failure: Exception):
    joined = Joined(Strict())
    joined.desk.listing = failure
    link = await joined.open()
    with pytest.raises(RpcError, match="mismatch"):
        await soon(link.handle(call(link)))
    await joined.close()


async def test_a_legacy_server_gets_no_such_headers_and_keeps_its_tools():
    joined = Joined(Strict("not a token"))
    link = await joined.open(LATEST_LEGACY)
    assert names(await list_tools(link)) == ["strict"]
    joined.desk.header = None
    assert text_of(await soon(link.handle(call(link)))) == "ok"
    await joined.close()


async def refuse(call: Call) -> Result:
    raise RpcError(HEADER_MISMATCH, "refused")
