"""The 2024 transport at a client's end, against servers by script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from tests.peers import ask, reply, say, soon
from tests.transport.http.test_client import Odd, OddResponse

from interlock.errors import ConnectFailed, ConnectionLost, HttpError, PeerError
from interlock.transport.http import sse2024_client as room
from interlock.transport.http.engine import Request
from interlock.transport.http.sse2024_client import open_sse
from interlock.transport.queued import QueuedChannel
from interlock.wire import sse

URL = "http://127.0.0.1:4777/sse"
STREAM = "text/event-stream"
ENDPOINT = sse.event(b"/messages?session_id=1", name="endpoint")


class _Far:
    """The line of the server's end: what was POSTed, and the stream."""

    def __init__(self) -> None:
        self.posted: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self.stream: asyncio.Queue[bytes | None] = asyncio.Queue(1)

    async def read(self) -> bytes | None:
        return await self.posted.get()

    async def write(self, message: bytes) -> None:
        await self.stream.put(sse.event(message, name="message"))

    async def end(self) -> None:
        await self.stream.put(None)


class _Stream:
    status = 200
    headers: Mapping[str, str] = {"content-type": STREAM}

    def __init__(self, far: _Far) -> None:
        self._far = far
        self._closed = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        yield ENDPOINT
        while (piece := await self._far.stream.get()) is not None:
            yield piece

    async def read(self, limit: int) -> bytes:
        return b""

    def close(self) -> None:
        while not self._far.stream.empty():
            self._far.stream.get_nowait()
        if not self._closed.is_set():
            self._closed.set()
            self._far.posted = _ended(self._far.posted)


def _ended(posted: asyncio.Queue[bytes | None]) -> asyncio.Queue[bytes | None]:
    ended: asyncio.Queue[bytes | None] = asyncio.Queue()
    while not posted.empty():
        ended.put_nowait(posted.get_nowait())
    ended.put_nowait(None)
    posted.put_nowait(None)
    return ended


class SsePeer:
    """An engine with a server behind it whose end is a channel."""

    def __init__(self) -> None:
        self._far = _Far()
        self.channel = QueuedChannel(self._far, "the client")

    async def send(self, request: Request) -> _Stream | OddResponse:
        if request.method == "GET":
            return _Stream(self._far)
        assert request.url == "http://127.0.0.1:4777/messages?session_id=1"
        await self._far.posted.put(request.body or b"")
        return OddResponse(202, "text/plain", b"Accepted")

    async def close(self) -> None:
        pass


class Held(OddResponse):
    """A stream that stays open after what it says."""

    def __init__(self, *body: bytes) -> None:
        super().__init__(200, STREAM, *body)
        self._closed = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self.body:
            yield piece
        await self._closed.wait()
        raise ConnectionLost("closed")

    def close(self) -> None:
        super().close()
        self._closed.set()


@pytest.mark.parametrize(
    ("said", "endpoint"),
    [
        ("/messages?id=1", "http://127.0.0.1:4777/messages?id=1"),
        ("messages", "http://127.0.0.1:4777/messages"),
        ("?id=1", "http://127.0.0.1:4777/sse?id=1"),
        ("http://127.0.0.1:4777/elsewhere", "http://127.0.0.1:4777/elsewhere"),
        (" /x \n", "http://127.0.0.1:4777/x"),
    ],
)
async def test_messages_are_posted_where_the_server_says(said: str, endpoint: str):
    stream = Held(b": hello\n\n", sse.event(said.encode(), name="endpoint"))
    engine = Odd(stream, OddResponse(202, ""), OddResponse(202, ""))
    channel = await soon(open_sse(URL, engine, {"X-Extra": "1"}))
    channel.send(ask("ping"))
    channel.send(say("notifications/x"))
    await engine.requests.number(3)
    get, *posts = engine.requests
    assert (get.method, get.headers) == ("GET", {"x-extra": "1", "accept": STREAM})
    assert [post.url for post in posts] == [endpoint] * 2
    assert [post.body for post in posts] == [ask("ping"), say("notifications/x")]
    assert posts[0].headers == {"x-extra": "1", "content-type": "application/json"}
    await soon(channel.close())
    assert stream.closed


@pytest.mark.parametrize(
    "said",
    [
        "http://127.0.0.1:4778/messages",
        "https://127.0.0.1:4777/messages",
        "http://localhost:4777/messages",
        "//elsewhere.example/messages",
        "file:///etc/passwd",
        "http://[",
        "http://127.0.0.1:99999999/",
        "/" + "x" * 10_000,
    ],
)
async def test_a_server_that_sends_us_elsewhere_is_not_followed(said: str):
    """Headers with credentials would go there, and what is said to this server."""
    stream = Held(sse.event(said.encode(), name="endpoint"))
    with pytest.raises(ConnectFailed, match=r"another origin|no URL"):
        await soon(open_sse(URL, Odd(stream)))
    assert stream.closed


@pytest.mark.parametrize(
    ("response", "error", "why"),
    [
        (OddResponse(405, "", b"POST only"), HttpError, "405"),
        (OddResponse(401, ""), HttpError, "401"),
        (OddResponse(302, "", location="/x"), HttpError, "302"),
        (OddResponse(200, "text/html", b"<html>"), ConnectFailed, "no event stream"),
        (OddResponse(200, STREAM), ConnectFailed, "does not begin with"),
        (OddResponse(200, STREAM, sse.event(b"{}")), ConnectFailed, "does not begin with"),
    ],
)
async def test_what_is_no_such_server_says_so(
    response: OddResponse, error: type[PeerError], why: str
):
    response.closed = False
    with pytest.raises(error, match=why):
        await soon(open_sse(URL, Odd(response)))
    assert response.closed


async def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "ENDPOINT_SECONDS", 0.01)
    stream = Held()
    with pytest.raises(ConnectFailed, match="did not say within"):
        await soon(open_sse(URL, Odd(stream)))
    assert stream.closed


async def test_only_messages_are_handed_on():
    events = [
        sse.event(b"{}", name="ping"),
        sse.comment("alive"),
        sse.event(b"", id="1"),
        sse.event(reply(1, {}), name="message"),
        sse.event(reply(2, {})),
        sse.event(b"nonsense"),
    ]
    channel = await soon(open_sse(URL, Odd(Held(ENDPOINT, *events))))
    taken: list[bytes] = []
    while len(taken) < 3:
        taken += await soon(channel.receive())
    assert taken == [reply(1, {}), reply(2, {}), b"nonsense"]
    await soon(channel.close())


async def test_an_event_that_is_too_long_is_lost_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "MESSAGE_LIMIT", 200)
    events = sse.event(b"x" * 300) + sse.event(reply(1, {}))
    channel = await soon(open_sse(URL, Odd(Held(ENDPOINT, events))))
    assert await soon(channel.receive()) == [reply(1, {})]
    await soon(channel.close())


async def test_a_request_that_is_not_taken_ends_the_channel_with_the_reason():
    stream = Held(ENDPOINT)
    engine = Odd(stream, OddResponse(404, "", b"Could not find session"))
    channel = await soon(open_sse(URL, engine))
    channel.send(ask("ping"))
    assert await soon(channel.receive()) == []
    assert "404: Could not find session" in str(channel.failure())
    await soon(channel.close())


async def test_a_notification_that_is_not_taken_ends_nothing():
    engine = Odd(Held(ENDPOINT), OddResponse(500, ""), OddResponse(202, ""))
    channel = await soon(open_sse(URL, engine))
    channel.send(say("notifications/x"))
    channel.send(ask("ping"))
    await engine.requests.number(3)
    assert channel.failure() is None
    await soon(channel.close())


class Slow:
    """A server that answers a POST only once it is let go."""

    def __init__(self, *responses: OddResponse) -> None:
        self.engine = Odd(Held(ENDPOINT), *responses)
        self.go = asyncio.Event()

    async def send(self, request: Request) -> OddResponse:
        response = await self.engine.send(request)
        if request.method == "POST":
            await self.go.wait()
        return response

    async def close(self) -> None:
        pass


async def test_a_post_that_is_answered_late_does_not_hold_up_the_next(
    monkeypatch: pytest.MonkeyPatch,
):
    """Some servers answer it only when they have worked on it, which may need our next one."""
    monkeypatch.setattr(room, "SLOW_SECONDS", 0.01)
    slow = Slow(*(OddResponse(202, "") for _ in range(3)))
    channel = await soon(open_sse(URL, slow))
    for number in range(3):
        channel.send(ask("ping", number))
    await slow.engine.requests.number(4)
    await soon(channel.close())


async def test_posts_without_their_answer_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "SLOW_SECONDS", 0.001)
    monkeypatch.setattr(room, "SLOW_LIMIT", 2)
    slow = Slow(*(OddResponse(202, "") for _ in range(5)))
    channel = await soon(open_sse(URL, slow))
    for number in range(5):
        channel.send(ask("ping", number))
    await slow.engine.requests.number(3)
    await asyncio.sleep(0.01)
    assert len(slow.engine.requests) == 3
    slow.go.set()
    await slow.engine.requests.number(6)
    await soon(channel.close())


async def test_a_late_refusal_ends_the_channel_with_its_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "SLOW_SECONDS", 0.001)
    slow = Slow(OddResponse(500, "", b"broke"), OddResponse(202, ""))
    channel = await soon(open_sse(URL, slow))
    channel.send(ask("ping"))
    channel.send(ask("ping", 2))
    await slow.engine.requests.number(3)
    slow.go.set()
    assert await soon(channel.receive()) == []
    assert "500: broke" in str(channel.failure())
    await soon(channel.close())
