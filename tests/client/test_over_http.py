"""Which of HTTP's transports a server speaks: found out, or said."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.client.test_connect import listening
from tests.peers import soon

from interlock import Client, Context, Server
from interlock.client.target import Url
from interlock.errors import ConnectFailed, ConnectionLost, HttpError, PeerError
from interlock.transport.http.asgi import App
from interlock.wire.inputs import ElicitParams, ElicitResult


class Old:
    """A server of 2024, whose answer to what newer clients try first is *refusal*."""

    def __init__(self, status: int = 405, body: bytes = b"", kind: bytes = b"text/plain") -> None:
        self.server = Server("old")
        self.app = App(self.server, sse_path="/mcp", path="/nowhere")
        self.refusal = (status, body, kind)
        self.heard: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        method = scope["method"]
        self.heard.append(method)
        if method == "POST" and not scope["query_string"]:
            status, body, kind = self.refusal
            headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await self.app(scope, receive, send)


@asynccontextmanager
async def serving(old: Old) -> AsyncGenerator[str]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await old(scope, receive, send)

    async with listening(app) as url:
        yield url
        await old.app.stop()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (405, b"", b"text/plain"),
        (404, b"<h1>Not found</h1>", b"text/html"),
        (400, b"Bad Request", b"text/plain"),
        (405, b'{"detail":"Method Not Allowed"}', b"application/json"),
        (415, b"", b"text/plain"),
        (422, b"[]", b"application/json"),
    ],
)
async def test_a_server_of_2024_is_found_out(status: int, body: bytes, kind: bytes):
    """2026-07-28 § Streamable HTTP, Backwards Compatibility: initialize refused, so GET."""
    old = Old(status, body, kind)

    @old.server.tool
    async def add(a: int, b: int) -> int:
        return a + b

    async with serving(old) as url, Client(url) as client:
        assert client.revision == "2025-11-25"
        assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"
    assert old.heard[:4] == ["POST", "POST", "GET", "POST"]


async def test_it_may_be_said_to_be_of_2024_and_is_then_asked_nothing_else():
    old = Old()
    async with serving(old) as url, Client(Url(url, transport="sse")) as client:
        assert client.server_info is not None
        assert client.server_info.name == "old"
    assert old.heard[:2] == ["GET", "POST"]


async def test_such_a_server_may_ask_and_report_and_be_left():
    old = Old()

    @old.server.tool
    async def greet(ctx: Context) -> str:
        await ctx.report_progress(1, 2, "asking")
        answer = await ctx.elicit("Your name?", {"type": "object", "properties": {}})
        return str(answer.action)

    async def accept(asked: ElicitParams) -> ElicitResult:
        return ElicitResult(action="accept", content={})

    steps: list[float] = []
    async with serving(old) as url, Client(url, on_elicit=accept) as client:
        result = await soon(
            client.call_tool("greet", on_progress=lambda notice: steps.append(notice.progress))
        )
        assert result.text == "accept"
        assert steps == [1]


async def test_a_stream_that_ends_loses_the_connection():
    old = Old()
    async with serving(old) as url, Client(url) as client:
        await client.list_tools()
        old.app.close()
        assert isinstance(await soon(client.link.wait_lost()), ConnectionLost)
        with pytest.raises(ConnectionLost):
            await soon(client.list_tools())


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_outages_and_log_ins_are_no_sign_of_age(status: int):
    old = Old(status)
    async with serving(old) as url:
        with pytest.raises(HttpError) as caught:
            await Client(url).connect()
        assert caught.value.status == status
    assert "GET" not in old.heard


async def test_a_refusal_in_the_protocols_own_words_is_none_either():
    error = b'{"jsonrpc":"2.0","id":2,"error":{"code":-32600,"message":"not today"}}'
    old = Old(400, error, b"application/json")
    async with serving(old) as url:
        with pytest.raises(ConnectFailed, match="not today"):
            await Client(url, revision="legacy").connect()
    assert "GET" not in old.heard


async def test_what_speaks_neither_is_told_with_both_reasons():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"no such page"})

    async with listening(app) as url:
        with pytest.raises(ConnectFailed, match=r"neither Streamable HTTP .*404.* nor .*404"):
            await Client(url).connect()


async def test_a_modern_client_is_told_what_such_a_server_cannot():
    old = Old()
    async with serving(old) as url:
        with pytest.raises(PeerError, match="does not speak 2026-07-28"):
            await Client(url, revision="modern").connect()
        with pytest.raises(ConnectFailed, match="carries no 2026-07-28"):
            await Client(Url(url, transport="sse"), revision="modern").connect()
