from __future__ import annotations

import json
from typing import Any

import pytest
from tests.official import complaint
from tests.peers import Desk, ask, hello, modern, reply, say, soon
from tests.transport.http.host import Host, HostEngine

from interlock.protocol.call import Call
from interlock.testing.listening import Ear, Endpoint, TappedChannel, TappedEngine
from interlock.testing.wiretap import Side, Violation, Wiretap
from interlock.transport.http.asgi import App
from interlock.transport.http.engine import Request
from interlock.transport.http.plain import Receive, Scope, Send
from interlock.transport.memory import pair
from interlock.wire import sse
from interlock.wire.content import Text
from interlock.wire.meta import RawResult, Result
from interlock.wire.notices import MESSAGE, LogNotice
from interlock.wire.tools import CallToolResult
from interlock.wire.versions import LATEST_LEGACY

URL = "http://127.0.0.1:4777/mcp"


class Heard:
    """A listener that keeps what was wrong."""

    def __init__(self, *judged: Side) -> None:
        self.wrong: list[Violation] = []
        self.ears: list[Ear] = []
        self.judged = judged

    def listen(self) -> Ear:
        ear = Ear(Wiretap(complaint, LATEST_LEGACY, self.judged), self.wrong.append)
        self.ears.append(ear)
        return ear

    @property
    def number(self) -> int:
        return sum(ear.tap.heard for ear in self.ears)


async def fine(call: Call) -> Result:
    call.outlet.notify(MESSAGE, LogNotice(level="info", data="x"))
    return CallToolResult(content=[Text(text="x")])


async def quiet(call: Call) -> Result:
    return CallToolResult(content=[])


async def wrong(call: Call) -> Result:
    return RawResult(body=b'{"content":7}')


async def odd(call: Call) -> Result:
    call.outlet.notify("notifications/odd", LogNotice(level="info", data="x"))
    return CallToolResult(content=[])


class TappedApp:
    """An App with an ear on it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.app = App(Desk(fine=fine, quiet=quiet, wrong=wrong, odd=odd))
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.endpoint.serve(self.app, scope, receive, send)


@pytest.fixture
def heard() -> Heard:
    return Heard("server")


@pytest.fixture
def host(heard: Heard) -> Host:
    return Host(TappedApp(Endpoint(heard.listen)))


def call(name: str, number: int = 1) -> bytes:
    return modern("tools/call", number, {"name": name})


@pytest.mark.parametrize(("tool", "messages"), [("fine", 3), ("quiet", 2)])
async def test_json_and_streams_are_heard(host: Host, heard: Heard, tool: str, messages: int):
    await host.modern(call(tool)).whole()
    assert heard.number == messages
    assert not heard.wrong


async def test_a_body_that_comes_in_pieces_is_heard_whole(host: Host, heard: Heard):
    body = call("quiet")
    headers = {
        "mcp-method": "tools/call",
        "mcp-name": "quiet",
        "mcp-protocol-version": "2026-07-28",
    }
    await host.post([body[:9], body[9:20], body[20:]], headers).whole()
    assert heard.number == 2
    assert not heard.wrong


@pytest.mark.parametrize(("tool", "why"), [("wrong", "content"), ("odd", "notifications/odd")])
async def test_what_a_server_may_not_say_is_reported(host: Host, heard: Heard, tool: str, why: str):
    await host.modern(call(tool)).whole()
    assert len(heard.wrong) == 1
    assert why in str(heard.wrong[0])


async def test_a_session_is_one_conversation(host: Host, heard: Heard):
    session = await host.greet(hello("2025-06-18"))
    for number in (1, 2):
        asked = host.legacy(session, ask("tools/call", number, {"name": "quiet"}))
        assert "result" in await asked.json()
    assert len(heard.ears) == 1
    assert heard.ears[0].tap.revision.name == "2025-06-18"
    await host.modern(call("quiet")).whole()
    assert len(heard.ears) == 2
    assert not heard.wrong


async def test_what_is_refused_unread_is_heard_as_well(host: Host, heard: Heard):
    for asked in (
        host.post(b"nonsense"),
        host.post(b"[]", {"content-type": "text/plain"}),
        host.open("GET", b""),
        host.open("PUT", b""),
        host.legacy("gone", ask("ping")),
    ):
        await asked.whole()
    assert not heard.wrong
    assert heard.number >= 5


async def test_an_event_that_is_sent_again_is_heard_once():
    heard = Heard("server")
    event = sse.event(reply(1, {"tools": []}), id="7")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        name = [(b"mcp-session-id", b"s")] if scope["method"] == "POST" else []
        kind = (b"content-type", b"text/event-stream")
        await send({"type": "http.response.start", "status": 200, "headers": [kind, *name]})
        await send({"type": "http.response.body", "body": event})

    endpoint = Endpoint(heard.listen)

    async def tapped(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoint.serve(app, scope, receive, send)

    host = Host(tapped)
    await host.post(ask("tools/list")).whole()
    await host.open("GET", b"", {"mcp-session-id": "s"}).whole()
    assert heard.number == 2
    assert not heard.wrong


async def test_documents_beside_the_endpoint_are_no_messages(heard: Heard):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kind = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        await send({"type": "http.response.body", "body": b'{"resource":"https://x"}'})

    endpoint = Endpoint(heard.listen)

    async def tapped(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoint.serve(app, scope, receive, send)

    await Host(tapped).open("GET", path="/.well-known/oauth-protected-resource").whole()
    assert heard.number == 0
    await Host(tapped).open("GET", path="/mcp").whole()
    assert heard.wrong


async def test_both_ends_of_a_channel_are_heard_and_one_is_judged():
    heard = Heard("client")
    ours, theirs = pair()
    tapped = TappedChannel(ours, heard.listen(), "client")
    tapped.send(modern("tools/list"))
    assert await soon(theirs.receive()) == [modern("tools/list")]
    theirs.send(b"nonsense")
    assert await soon(tapped.receive()) == [b"nonsense"]
    assert heard.number == 2
    assert not heard.wrong
    tapped.send(b"nonsense")
    assert len(heard.wrong) == 1
    await soon(tapped.drain())
    await tapped.close()
    assert (tapped.backlog, tapped.failure()) == (8, None)


@pytest.mark.parametrize("tool", ["fine", "quiet"])
async def test_an_engine_s_requests_and_answers_are_heard(tool: str):
    heard = Heard("client", "server")
    app = App(Desk(fine=fine, quiet=quiet))
    engine = TappedEngine(HostEngine(app), heard.listen())
    headers = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }
    response = await soon(engine.send(Request("POST", URL, headers, call(tool))))
    if "json" in response.headers["content-type"]:
        answer: Any = json.loads(await soon(response.read(10_000)))
        assert answer["id"] == 1
    else:
        assert len([piece async for piece in response.pieces()]) > 0
    response.close()
    assert heard.number == (3 if tool == "fine" else 2)
    assert not heard.wrong
    await engine.close()
    await app.stop()


async def test_the_header_says_what_a_message_does_not():
    heard = Heard("client")
    engine = TappedEngine(HostEngine(App(Desk())), heard.listen())
    said = say("notifications/roots/list_changed")
    headers = {"mcp-protocol-version": "2025-03-26", "host": "127.0.0.1"}
    (await soon(engine.send(Request("POST", URL, headers, said)))).close()
    assert heard.ears[0].tap.revision.name == "2025-03-26"
    assert not heard.wrong
