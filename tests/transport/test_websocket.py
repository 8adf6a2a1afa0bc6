"""MCP over WebSocket, both sides: our client, our server, and either against what is none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from tests.peers import Desk, Latch, ask, echo, hello, said, soon

from interlock import Client, Server
from interlock.errors import ConnectFailed, ConnectionLost, HttpError, PeerError
from interlock.protocol.call import Call
from interlock.transport import websocket, websocket_client
from interlock.transport.http.asgi import App
from interlock.transport.queued import QueuedChannel
from interlock.transport.websocket import (
    SUBPROTOCOL,
    Receive,
    Scope,
    Send,
    Sockets,
    accept,
    refuse,
)
from interlock.transport.websocket_client import open_websocket
from interlock.wire.meta import Result


@asynccontextmanager
async def listening(app: Any, **options: Any) -> AsyncGenerator[str]:
    """The URL of an ASGI app on a free port, WebSockets included."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        lifespan="off",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        **options,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  the tests keep theirs
    socket = config.bind_socket()
    socket.listen()  # From here on clients wait instead of being refused.
    task = asyncio.create_task(server.serve(sockets=[socket]))
    try:
        yield f"ws://127.0.0.1:{socket.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        await soon(task)


@asynccontextmanager
async def joined() -> AsyncGenerator[tuple[QueuedChannel, QueuedChannel]]:
    """A client's channel and its server's."""
    far: asyncio.Future[QueuedChannel] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        channel = await accept(scope, receive, send)
        assert channel is not None
        far.set_result(channel)
        await done.wait()

    async with listening(app) as url:
        near = await soon(open_websocket(url))
        try:
            yield near, await soon(far)
        finally:
            await near.close()
            await (await far).close()
            done.set()


@asynccontextmanager
async def served(**tools: Any) -> AsyncGenerator[tuple[str, Sockets]]:
    sockets = Sockets(Desk(echo=echo, **tools))
    async with listening(serving(sockets)) as url:
        yield url, sockets


def serving(sockets: Sockets) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await sockets.serve(scope, receive, send)

    return app


async def answer(channel: QueuedChannel) -> bytes:
    (message,) = await soon(channel.receive())
    return message


async def test_a_conversation():
    async with served() as (url, _):
        channel = await soon(open_websocket(url))
        channel.send(hello())
        assert b'"protocolVersion"' in await answer(channel)
        channel.send(ask("ping", 2))
        assert await answer(channel) == b'{"jsonrpc":"2.0","id":2,"result":{}}'
        await soon(channel.close())


async def test_what_is_no_message_is_answered_and_ends_nothing():
    async with served() as (url, _):
        channel = await soon(open_websocket(url))
        channel.send(b"nonsense")
        assert b"-32700" in await answer(channel)
        channel.send(hello())
        assert b'"protocolVersion"' in await answer(channel)
        await soon(channel.close())


async def test_a_client_that_leaves_ends_its_calls():
    latch = Latch()
    async with served(latch=latch) as (url, _):
        channel = await soon(open_websocket(url))
        channel.send(hello())
        await answer(channel)
        channel.send(ask("tools/call", 2, {"name": "latch"}))
        await soon(latch.reached.wait())
        await soon(channel.close())
        await soon(latch.cancelled.wait())


async def test_a_server_that_stops_ends_every_connection():
    async with served() as (url, sockets):
        channels = [await soon(open_websocket(url)) for _ in range(3)]
        for channel in channels:
            channel.send(hello())
            await answer(channel)
        sockets.close()
        for channel in channels:
            assert await soon(channel.receive()) == []
            assert isinstance(channel.failure(), ConnectionLost)
            await soon(channel.close())


async def test_more_connections_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(websocket, "CONNECTIONS", 1)
    async with served() as (url, _):
        channel = await soon(open_websocket(url))
        channel.send(hello())
        await answer(channel)
        with pytest.raises(HttpError, match="503"):
            await soon(open_websocket(url))
        await soon(channel.close())


class Handshake:
    """A connection that is to be accepted, and the moment at which it is."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.accepted = asyncio.Event()
        self.sent: list[str] = []
        self.broken: Exception | None = None
        self._events: list[Any] = [{"type": "websocket.connect"}]

    async def receive(self) -> Any:
        if self._events:
            return self._events.pop()
        return await asyncio.Event().wait()

    async def send(self, event: Any) -> None:
        self.asked.set()
        await self.accepted.wait()
        if self.broken is not None:
            raise self.broken
        self.sent.append(event["type"])

    def served_by(self, sockets: Sockets) -> asyncio.Task[None]:
        scope = {"type": "websocket", "subprotocols": [SUBPROTOCOL]}
        return asyncio.create_task(sockets.serve(scope, self.receive, self.send))


async def test_connections_count_from_before_they_are_accepted(monkeypatch: pytest.MonkeyPatch):
    """Or whoever takes a long time over handshakes has as many as they like."""
    monkeypatch.setattr(websocket, "CONNECTIONS", 1)
    sockets = Sockets(Desk())
    slow, late = Handshake(), Handshake()
    first = slow.served_by(sockets)
    await soon(slow.asked.wait())
    late.accepted.set()
    await soon(late.served_by(sockets))
    assert late.sent == ["websocket.close"]
    slow.broken = BrokenPipeError()
    slow.accepted.set()
    await soon(first)
    again = Handshake()
    again.accepted.set()
    last = again.served_by(sockets)
    await soon(again.asked.wait())
    sockets.close()
    await soon(last)
    assert again.sent == ["websocket.accept", "websocket.close"]


async def test_a_connection_that_is_accepted_while_all_are_ended_ends_too():
    sockets = Sockets(Desk())
    slow = Handshake()
    serving = slow.served_by(sockets)
    await soon(slow.asked.wait())
    sockets.close()
    slow.accepted.set()
    await soon(serving)
    assert slow.sent == ["websocket.accept", "websocket.close"]


async def test_a_server_that_closed_by_itself_is_no_failure_of_ours():
    """As uvicorn does at a frame that is none: what is sent then raises, and not an `OSError`."""
    sockets = Sockets(Desk())
    handshake = Handshake()
    handshake.accepted.set()
    serving = handshake.served_by(sockets)
    await soon(handshake.asked.wait())
    handshake.broken = RuntimeError("Unexpected ASGI message, after sending 'websocket.close'")
    sockets.close()
    await soon(serving)


async def test_a_message_over_the_limit_ends_the_connection():
    sockets = Sockets(Desk(), limit=1000)
    async with listening(serving(sockets)) as url:
        channel = await soon(open_websocket(url))
        channel.send(b'"%b"' % (b"x" * 1000))
        assert await soon(channel.receive()) == []
        assert "1009" in str(channel.failure())
        await soon(channel.close())


async def test_a_server_s_message_over_the_limit_is_not_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(websocket_client, "MESSAGE_LIMIT", 1000)
    async with joined() as (near, far):
        far.send(b'"%b"' % (b"x" * 2000))
        assert await soon(near.receive()) == []
        assert isinstance(near.failure(), PeerError)


@pytest.mark.parametrize(
    ("offered", "accepted"), [(["mcp"], "mcp"), (["chat", "mcp"], "mcp"), ([], None)]
)
async def test_the_subprotocol_is_agreed_on(offered: list[str], accepted: str | None):
    told: list[Any] = []

    async def receive() -> Any:
        if told:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        told.append(event)

    await soon(Sockets(Desk()).serve({"subprotocols": offered}, receive, send))
    assert told[0].get("subprotocol") == accepted
    assert told[0]["type"] == "websocket.accept"


async def test_another_subprotocol_is_refused():
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        told.append(event)

    scope: Scope = {"subprotocols": ["chat"]}
    await soon(Sockets(Desk()).serve(scope, receive, send))
    assert told == [
        {
            "type": "websocket.close",
            "code": 1008,
            "reason": f"The subprotocol {SUBPROTOCOL!r} is expected",
        }
    ]


async def test_a_refusal_is_an_http_error_where_that_can_be_said():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await refuse(scope, send, 418, "no tea")

    async with listening(app) as url:
        with pytest.raises(HttpError) as caught:
            await soon(open_websocket(url))
        assert caught.value.status == 418


async def test_what_is_no_websocket_says_so():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"location", b"/elsewhere")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with listening(app) as url:
        # uvicorn hands a WebSocket's opening to the app as such; over plain HTTP it redirects.
        with pytest.raises(PeerError):
            await soon(open_websocket(url))
        gone = url
    with pytest.raises(ConnectFailed, match="Nothing answers at ws://"):
        await soon(open_websocket(gone))


async def test_a_redirect_is_named_and_not_followed():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"location", b"ws://elsewhere.example/mcp")]
        await send({"type": "websocket.http.response.start", "status": 302, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b""})

    async with listening(app) as url:
        with pytest.raises(HttpError, match=r"redirects to ws://elsewhere\.example/mcp; use that"):
            await soon(open_websocket(url))


# At the endpoint.


@asynccontextmanager
async def endpoint(**options: Any) -> AsyncGenerator[tuple[str, App]]:
    app = App(Desk(echo=echo), **options)

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    async with listening(asgi) as url:
        try:
            yield url, app
        finally:
            await app.stop()


async def test_the_endpoint_serves_them_beside_http_if_asked():
    async with endpoint(websocket=True) as (url, app):
        channel = await soon(open_websocket(url))
        channel.send(hello())
        assert b'"protocolVersion"' in await answer(channel)
        app.close()
        assert await soon(channel.receive()) == []
        await soon(channel.close())
        with pytest.raises(HttpError, match="503"):
            await soon(open_websocket(url))


async def test_the_endpoint_serves_none_unless_asked():
    async with endpoint() as (url, _):
        with pytest.raises(HttpError, match="403"):
            await soon(open_websocket(url))


async def test_the_endpoint_serves_them_at_its_path_only():
    async with endpoint(websocket=True) as (url, _):
        with pytest.raises(HttpError, match="403"):
            await soon(open_websocket(url + "/elsewhere"))


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}], ids=str
)
async def test_a_page_in_a_browser_may_not_open_one(headers: dict[str, str]):
    """Browsers let any page open a WebSocket to this machine; only Origin and Host tell."""
    async with endpoint(websocket=True) as (url, app):
        with pytest.raises(HttpError, match="403"):
            await soon(open_websocket(url, headers))
        allowed = {"Origin": "http://localhost:3000"}
        channel = await soon(open_websocket(url, allowed))
        await soon(channel.close())
        assert app.sockets is not None


async def test_a_service_that_does_not_start_serves_none(caplog: pytest.LogCaptureFixture):
    class Broken(Desk):
        async def start(self) -> None:
            raise RuntimeError("no database")

    app = App(Broken(), websocket=True)

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    async with listening(asgi) as url:
        with pytest.raises(HttpError, match="503"):
            await soon(open_websocket(url))
    assert "no database" in caplog.text
    await app.stop()


@pytest.mark.parametrize("revision", ["legacy", "modern"])
async def test_a_client_finds_a_server_over_it(revision: str):
    server = Server("there")

    @server.tool
    async def add(a: int, b: int) -> int:
        return a + b

    app = App(server, websocket=True)

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    async with listening(asgi) as url:
        async with Client(url, revision=revision) as client:
            assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"
        await app.stop()


async def test_each_connection_is_a_session_of_its_own_name():
    """Without authentication only that tells one client from another."""
    names: set[str] = set()

    async def whose(call: Call) -> Result:
        assert call.session is not None
        names.add(call.session.id)
        return said("")

    async with served(whose=whose) as (url, _):
        for _ in range(2):
            async with Client(url, revision="legacy") as client:
                await client.call_tool("whose")
    assert len(names) == 2
    assert "" not in names
