"""Where a wiretap is put: on a channel, on an HTTP endpoint, on the engine of an HTTP client.

What is heard goes on unchanged, and a `Violation` is handed to a function instead of being raised
into the conversation: whoever listens must not be noticed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from msgspec import UNSET

from interlock.protocol.gate import RawHeaders
from interlock.testing.wiretap import Side, Violation, Wiretap
from interlock.transport.channel import Channel
from interlock.transport.http.documents import WELL_KNOWN
from interlock.transport.http.engine import Engine, Request, Response
from interlock.transport.http.guards import Head
from interlock.transport.http.plain import ANSWER, Header, Receive, Scope, Send, Way
from interlock.wire import sse
from interlock.wire.headers import PROTOCOL_VERSION as VERSION
from interlock.wire.headers import SESSION_ID
from interlock.wire.jsonrpc import Message, read
from interlock.wire.meta import PROTOCOL_VERSION, members
from interlock.wire.versions import LEGACY

Report: TypeAlias = Callable[[Violation], None]

_STREAM: Final = "text/event-stream"
_JSON: Final = "application/json"
_VERSION: Final = VERSION.decode()


class Ear:
    """One conversation that is listened to; it never raises."""

    def __init__(self, tap: Wiretap, report: Report) -> None:
        self.tap = tap
        self._report = report

    def hear(self, side: Side, data: bytes) -> None:
        try:
            self.tap.hear(side, data)
        except Violation as violation:
            self._report(violation)


class _Events:
    """The messages on a stream of events. One that is sent again, under its id, is heard once."""

    def __init__(self, ear: Ear, side: Side, known: set[str]) -> None:
        self._ear = ear
        self._side: Side = side
        self._known = known
        self._reader = sse.Reader()

    def feed(self, piece: bytes) -> None:
        try:
            events = self._reader.feed(piece)
        except sse.EventTooLong as error:
            events = error.events
        for event in events:
            if event.id and event.id in self._known:
                continue
            if event.id:
                self._known.add(event.id)
            if event.data:
                self._ear.hear(self._side, event.data)


class TappedChannel:
    """A channel that *side* sends on and its peer is received from."""

    def __init__(self, channel: Channel, ear: Ear, side: Side) -> None:
        self._channel = channel
        self._ear = ear
        self._side: Side = side
        self._peer: Side = "client" if side == "server" else "server"
        self.drain = channel.drain
        self.close = channel.close
        self.failure = channel.failure

    async def receive(self) -> list[bytes]:
        batch = await self._channel.receive()
        for message in batch:
            self._ear.hear(self._peer, message)
        return batch

    def send(self, message: bytes) -> None:
        self._ear.hear(self._side, message)
        self._channel.send(message)

    @property
    def backlog(self) -> int:
        return self._channel.backlog


class TappedEngine:
    """The engine of an HTTP client, with what its server answers."""

    def __init__(self, engine: Engine, ear: Ear) -> None:
        self._engine = engine
        self._ear = ear
        self._known: set[str] = set()

    async def send(self, request: Request) -> Response:
        # What names no revision of its own has it in the header once that is settled.
        settled = LEGACY.get(request.headers.get(_VERSION, ""))
        if settled is not None:
            self._ear.tap.settle(settled)
        if request.body:
            self._ear.hear("client", request.body)
        response = await self._engine.send(request)
        return _TappedResponse(response, self._ear, self._known)

    async def close(self) -> None:
        await self._engine.close()


class _TappedResponse:
    def __init__(self, response: Response, ear: Ear, known: set[str]) -> None:
        self._response = response
        self._ear = ear
        self._kind = response.headers.get("content-type", "").partition(";")[0].strip()
        self._events = _Events(ear, "server", known)
        self.close = response.close

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._response.pieces():
            if self._kind == _STREAM:
                self._events.feed(piece)
            yield piece

    async def read(self, limit: int) -> bytes:
        body = await self._response.read(limit)
        if self._kind == _JSON and body:
            self._ear.hear("server", body)
        return body


class Endpoint:
    """An `App` whose every response is heard, in the conversation it belongs to.

    A legacy session is one conversation; each modern request is one of its own.
    """

    def __init__(self, listen: Callable[[], Ear]) -> None:
        self._listen = listen
        self._sessions: dict[str, tuple[Ear, set[str]]] = {}

    async def serve(self, app: Any, scope: Scope, receive: Receive, send: Send) -> None:
        """What *app* (`App.__call__`, bound) does, listened to."""
        # Documents about who may come in stand beside the endpoint, and are no messages of it.
        if scope["type"] != "http" or WELL_KNOWN in scope["path"]:
            await app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        session = headers.get(SESSION_ID, b"").decode("latin-1")
        talk = _Talk(self, session)

        async def take() -> Any:
            event = await receive()
            if event["type"] == "http.request":
                talk.asked(event.get("body", b""), more=event.get("more_body", False))
            return event

        async def give(event: Any) -> None:
            talk.sent(event)
            await send(event)

        await app(scope, take, give)

    async def post(
        self, app: Any, head: Head, headers: RawHeaders, query: bytes, body: bytes, way: Way
    ) -> None:
        """What *app* (`App.post`, bound) does, listened to."""
        talk = _Talk(self, head.session or "")
        talk.asked(body, more=False)
        await app(head, headers, query, body, _TappedWay(way, talk))

    def conversation(self, session: str, body: bytes) -> tuple[Ear, set[str]]:
        """What a request belongs to, as far as it can be told."""
        if session in self._sessions and not _is_modern(body):
            return self._sessions[session]
        return self._listen(), set()

    def keep(self, session: str, ear: Ear, known: set[str]) -> None:
        self._sessions.setdefault(session, (ear, known))


class _TappedWay:
    """The way back to a client, with what goes it."""

    def __init__(self, way: Way, talk: _Talk) -> None:
        self._way = way
        self._talk = talk
        self.watch = way.watch
        self.unwatch = way.unwatch

    async def send(self, event: MutableMapping[str, Any], /) -> None:
        self._talk.sent(event)
        await self._way.send(event)

    async def answer(self, headers: list[Header], body: bytes) -> None:
        self._talk.began([*ANSWER, *headers])
        self._talk.answered(body, more=False)
        await self._way.answer(headers, body)

    async def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        self._talk.began(headers)
        self._talk.answered(body, more=False)
        await self._way.whole(status, headers, body)


class _Talk:
    """One request to an endpoint, and what comes back."""

    def __init__(self, endpoint: Endpoint, session: str) -> None:
        self._endpoint = endpoint
        self._session = session
        self._body = b""
        self._answer = b""
        self._kind = b""
        self._events: _Events | None = None
        self._ear: Ear | None = None
        self._known: set[str] = set()

    def asked(self, piece: bytes, *, more: bool) -> None:
        self._body += piece
        if not more and self._ear is None:
            self._join()

    def sent(self, event: MutableMapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.began(event["headers"])
        elif event["type"] == "http.response.body":
            self.answered(event.get("body", b""), more=event.get("more_body", False))

    def began(self, headers: list[tuple[bytes, bytes]]) -> None:
        ear = self._join()
        for name, value in headers:
            if name == SESSION_ID:
                self._endpoint.keep(value.decode("latin-1"), ear, self._known)
            elif name == b"content-type":
                self._kind = value
        if self._kind.startswith(_STREAM.encode()):
            self._events = _Events(ear, "server", self._known)

    def answered(self, piece: bytes, *, more: bool) -> None:
        if self._events is not None:
            self._events.feed(piece)
            return
        self._answer += piece
        if not more and self._answer:
            self._join().hear("server", self._answer)

    def _join(self) -> Ear:
        """The conversation, and in it what was asked. Some is refused before it was read whole."""
        if self._ear is None:
            self._ear, self._known = self._endpoint.conversation(self._session, self._body)
            if self._body:
                self._ear.hear("client", self._body)
        return self._ear


def _is_modern(body: bytes) -> bool:
    message = read(body)
    if type(message) is not Message or message.method is UNSET:
        return False
    try:
        return PROTOCOL_VERSION in members(members(message.params).get("_meta", b""))
    except ValueError:
        return False
