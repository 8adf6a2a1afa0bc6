"""The ways of talking to our server as a peer would: JSON in, JSON out, over each transport in each
revision. What a server by script does to our client lives in `scripts`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias

from msgspec import Struct
from tests.peers import MODERN, Json, ask, hello, say, soon
from tests.peers import meta as stamps
from tests.spec.marking import HTTP, STDIO
from tests.transport.http.host import Asked, Host, mirrored

from interlock.protocol.call import Service
from interlock.transport.duplex import serve
from interlock.transport.http.asgi import App
from interlock.transport.stdio import Claimed, StdioChannel
from interlock.wire import sse

Wanted: TypeAlias = Callable[[Json], bool]
Headers: TypeAlias = Mapping[str, str | None]


class Answer(Struct):
    """The response to one request, what came before it, and what HTTP says."""

    message: Json
    before: list[Json]
    status: int | None = None
    headers: Mapping[str, str] = {}

    @property
    def result(self) -> Json:
        assert "error" not in self.message, self.message
        return self.message["result"]

    @property
    def error(self) -> Json:
        assert "result" not in self.message, self.message
        return self.message["error"]

    @property
    def code(self) -> int:
        return self.error["code"]


class Open(Protocol):
    """A request on its way."""

    id: Any

    @property
    def heard(self) -> list[Json]:
        """What came for it so far; on stdio also what came for others since."""
        ...

    @property
    def status(self) -> int:
        """Of the HTTP response, once it has begun."""
        ...

    @property
    def events(self) -> list[sse.Event]:
        """The events of an HTTP stream, those without a message included."""
        ...

    async def until(self, wanted: Wanted) -> Json:
        """The first message that is wanted, and was not handed out before."""
        ...

    async def whole(self) -> bytes:
        """Everything that came over HTTP, once the response is over."""
        ...

    async def comment(self) -> None:
        """Wait for a comment on the stream."""
        ...

    async def answer(self) -> Answer:
        """The response."""
        ...

    async def cancel(self) -> None:
        """Give up, as this transport does it in this era."""
        ...


class Peer(Protocol):
    """One client's conversation with our server, greeted where the revision wants that."""

    revision: str
    greeting: Json
    """The result of `initialize`; empty in the modern era."""
    capabilities: Json
    """What the client says it can do."""

    def request(
        self,
        method: str,
        params: Json | None = None,
        *,
        id: Any = ...,
        meta: Json | None = None,
        **keys: Any,
    ) -> bytes:
        """The bytes of a request of this revision; *meta* and *keys* go into its `_meta`.

        A key whose value is `...` is left out.
        """
        ...

    async def open(
        self,
        method: str,
        params: Json | None = None,
        *,
        id: Any = ...,
        headers: Headers | None = None,
        meta: Json | None = None,
        **keys: Any,
    ) -> Open:
        """Begin a request; over HTTP with the headers of its era, changed by *headers*."""
        ...

    async def ask(
        self,
        method: str,
        params: Json | None = None,
        *,
        id: Any = ...,
        headers: Headers | None = None,
        meta: Json | None = None,
        **keys: Any,
    ) -> Answer:
        """Begin a request and wait for its response."""
        ...

    async def begin(self, data: bytes, headers: Headers | None = None) -> Open:
        """Begin a request of these bytes."""
        ...

    async def tell(self, method: str, params: Json | None = None) -> int | None:
        """Send a notification; the status that HTTP answers it with."""
        ...

    async def reply(self, question: Json, result: Json) -> None:
        """Answer a question of the server."""
        ...

    async def send(self, data: bytes, headers: Headers | None = None) -> list[Any]:
        """Send bytes as they are; everything that comes back for them."""
        ...

    async def bare(
        self, verb: str, headers: Headers | None = None
    ) -> tuple[int, Mapping[str, str]]:
        """Send a request without a body over HTTP; status and headers of the response."""
        ...

    async def listen(self, after: str | None = None) -> Open:
        """What a legacy server says beside calls: the standing stream, or simply all that comes.

        Over HTTP a stream can be taken up *after* the event of that id.
        """
        ...


class Way(Struct, frozen=True):
    """One transport and one revision."""

    transport: str
    revision: str

    def __str__(self) -> str:
        return f"{self.transport} {self.revision}"

    @property
    def modern(self) -> bool:
        return self.revision == MODERN

    def join(
        self,
        service: Service,
        *,
        capabilities: Json | None = None,
        greet: bool = True,
        **options: Any,
    ) -> AbstractAsyncContextManager[Peer]:
        """Serve *service*, and talk to it. *options* are of `App` and count over HTTP only."""
        can = capabilities or {}
        if self.transport == STDIO:
            return _over_pipes(service, self.revision, can, greet=greet)
        return _over_http(App(service, **options), self.revision, can, greet=greet)

    @asynccontextmanager
    async def serve(
        self, service: Service, **options: Any
    ) -> AsyncGenerator[Callable[..., AbstractAsyncContextManager[Peer]]]:
        """Serve *service* for as many clients as one likes: over HTTP they share an endpoint.

        Over pipes each has a process of its own, which here shares nothing but the service.
        """
        app = App(service, **options) if self.transport == HTTP else None

        def join(
            revision: str = self.revision, capabilities: Json | None = None, *, greet: bool = True
        ) -> AbstractAsyncContextManager[Peer]:
            can = capabilities or {}
            if app is None:
                return _over_pipes(service, revision, can, greet=greet)
            return _over_http(app, revision, can, greet=greet, own=False)

        yield join
        if app is not None:
            await app.stop()


class _Talk:
    """What both transports share."""

    def __init__(self, revision: str, capabilities: Json) -> None:
        self.revision = revision
        self.greeting: Json = {}
        self.capabilities = capabilities
        self._last = 0

    def request(
        self,
        method: str,
        params: Json | None = None,
        *,
        id: Any = ...,
        meta: Json | None = None,
        **keys: Any,
    ) -> bytes:
        self._last += 1
        keys |= meta or {}
        given = dict(params or {})
        if self.revision == MODERN:
            own = {"io.modelcontextprotocol/clientCapabilities": self.capabilities}
            given["_meta"] = {**stamps(), **own, **given.get("_meta", {}), **keys}
            given["_meta"] = {
                key: value for key, value in given["_meta"].items() if value is not ...
            }
        elif keys:
            given["_meta"] = {**given.get("_meta", {}), **keys}
        number = self._last if id is ... else id
        return ask(method, number, given if given or params is not None else ...)

    async def open(
        self,
        method: str,
        params: Json | None = None,
        *,
        id: Any = ...,
        headers: Headers | None = None,
        meta: Json | None = None,
        **keys: Any,
    ) -> Open:
        return await self.begin(self.request(method, params, id=id, meta=meta, **keys), headers)

    async def ask(
        self,
        method: str,
        params: Json | None = None,
        *,
        id: Any = ...,
        headers: Headers | None = None,
        meta: Json | None = None,
        **keys: Any,
    ) -> Answer:
        begun = await self.open(method, params, id=id, headers=headers, meta=meta, **keys)
        return await begun.answer()

    async def begin(self, data: bytes, headers: Headers | None = None) -> Open:
        raise NotImplementedError

    async def greet(self) -> None:
        asked = await self.begin(hello(self.revision, "hello", self.capabilities))
        answer = await asked.answer()
        self.greeting = answer.result
        assert self.greeting["protocolVersion"] == self.revision


class _Heard:
    """Messages as they come, which several may wait for."""

    def __init__(self) -> None:
        self.messages: list[Json] = []
        self._more = asyncio.Event()

    def put(self, message: Json) -> None:
        self.messages.append(message)
        self._more.set()

    async def at(self, index: int) -> Json:
        while len(self.messages) <= index:
            self._more.clear()
            await soon(self._more.wait())
        return self.messages[index]


# Over pipes.


class _Line(_Talk):
    def __init__(
        self, revision: str, capabilities: Json, reader: asyncio.StreamReader, sink: Any
    ) -> None:
        super().__init__(revision, capabilities)
        self.heard = _Heard()
        self.sink: asyncio.WriteTransport = sink
        self._reader = reader
        self._markers = 0

    async def read(self) -> None:
        while line := await self._reader.readline():
            self.heard.put(json.loads(line))

    async def begin(self, data: bytes, headers: Headers | None = None) -> Open:
        begun = _OnLine(self, _id_of(data))
        self.sink.write(data + b"\n")
        return begun

    async def tell(self, method: str, params: Json | None = None) -> int | None:
        self.sink.write(say(method, params if params is not None else ...) + b"\n")
        return None

    async def reply(self, question: Json, result: Json) -> None:
        body = {"jsonrpc": "2.0", "id": question["id"], "result": result}
        self.sink.write(json.dumps(body).encode() + b"\n")

    async def send(self, data: bytes, headers: Headers | None = None) -> list[Any]:
        # What is answered at all is answered in order, so a request behind it marks the end.
        self._markers += 1
        start = len(self.heard.messages)
        self.sink.write(data + b"\n")
        marker = await self.open("tools/list", id=f"marker-{self._markers}")
        answer = await marker.answer()
        return self.heard.messages[start : self.heard.messages.index(answer.message)]

    async def bare(
        self, verb: str, headers: Headers | None = None
    ) -> tuple[int, Mapping[str, str]]:
        raise AssertionError("pipes have no verbs")

    async def listen(self, after: str | None = None) -> Open:
        return _OnLine(self, None)


class _OnLine:
    def __init__(self, line: _Line, id: Any) -> None:
        self.id = id
        self._line = line
        self._start = len(line.heard.messages)
        self._taken: set[int] = set()

    @property
    def heard(self) -> list[Json]:
        return self._line.heard.messages[self._start :]

    @property
    def status(self) -> int:
        raise AssertionError("a pipe has no status")

    @property
    def events(self) -> list[sse.Event]:
        raise AssertionError("a pipe has no events")

    async def until(self, wanted: Wanted) -> Json:
        index = self._start
        while index in self._taken or not wanted(await self._line.heard.at(index)):
            index += 1
        self._taken.add(index)
        return self._line.heard.messages[index]

    async def whole(self) -> bytes:
        raise AssertionError("a pipe has no end of a response")

    async def comment(self) -> None:
        raise AssertionError("a pipe has no comments")

    async def answer(self) -> Answer:
        message = await self.until(lambda message: _answers(message, self.id))
        before = self.heard[: self.heard.index(message)]
        return Answer(message, [other for other in before if "method" in other])

    async def cancel(self) -> None:
        await self._line.tell("notifications/cancelled", {"requestId": self.id})


@asynccontextmanager
async def _over_pipes(
    service: Service, revision: str, capabilities: Json, *, greet: bool
) -> AsyncGenerator[Peer]:
    (source, far_sink), (far_source, sink) = os.pipe(), os.pipe()
    await service.start()
    serving = asyncio.create_task(serve(service, await StdioChannel.open(Claimed(source, sink))))
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    incoming, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(far_source, "rb", buffering=0)
    )
    outgoing, _ = await loop.connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(far_sink, "wb", buffering=0)
    )
    peer = _Line(revision, capabilities, reader, outgoing)
    reading = asyncio.create_task(peer.read())
    try:
        if greet and revision != MODERN:
            await peer.greet()
            await peer.tell("notifications/initialized")
        yield peer
    finally:
        outgoing.close()
        await soon(serving)
        incoming.close()
        reading.cancel()
        await service.stop()


# Over HTTP.


class _Posts(_Talk):
    def __init__(self, revision: str, capabilities: Json, app: App) -> None:
        super().__init__(revision, capabilities)
        self.host = Host(app)
        self.session: str | None = None
        self.begun: list[_OnStream] = []

    def headers(self, data: bytes) -> dict[str, str | None]:
        if self.revision == MODERN:
            return mirrored(data)
        sent: dict[str, str | None] = {"mcp-session-id": self.session}
        if self.session is not None and self.revision >= "2025-06-18":
            sent["mcp-protocol-version"] = self.revision
        return sent

    async def begin(self, data: bytes, headers: Headers | None = None) -> Open:
        asked = self.host.post(data, {**self._fitting(data), **(headers or {})})
        begun = _OnStream(asked, _id_of(data))
        self.begun.append(begun)
        return begun

    def _fitting(self, data: bytes) -> dict[str, str | None]:
        try:
            return self.headers(data)
        except (ValueError, KeyError, TypeError, RecursionError):
            return mirrored(ask("tools/list", 0, {}))

    async def greet(self) -> None:
        await super().greet()
        asked = self.begun[-1].asked
        self.session = asked.headers["mcp-session-id"]
        await self.tell("notifications/initialized")

    async def tell(self, method: str, params: Json | None = None) -> int | None:
        if self.revision == MODERN:
            params = {**(params or {}), "_meta": stamps()}
        data = say(method, params if params is not None else ...)
        asked = self.host.post(data, self.headers(data))
        await asked.whole()
        return asked.status

    async def reply(self, question: Json, result: Json) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": result}).encode()
        asked = self.host.post(body, self.headers(body))
        await asked.whole()
        assert asked.status == 202

    async def send(self, data: bytes, headers: Headers | None = None) -> list[Any]:
        asked = self.host.post(data, {**self._fitting(data), **(headers or {})})
        body = await asked.whole()
        if asked.headers.get("content-type") == "text/event-stream":
            return [json.loads(event.data) for event in sse.Reader().feed(body)]
        return [json.loads(body)] if body else []

    async def bare(
        self, verb: str, headers: Headers | None = None
    ) -> tuple[int, Mapping[str, str]]:
        sent = {} if self.revision == MODERN else self.headers(b"{}")
        asked = self.host.open(verb, headers={**sent, **(headers or {})})
        await asked.whole()
        return asked.status, asked.headers

    async def listen(self, after: str | None = None) -> Open:
        sent = {**self.headers(b"{}"), "accept": "text/event-stream", "last-event-id": after}
        asked = self.host.open("GET", headers=sent)
        await asked.begun()
        assert asked.status == 200
        begun = _OnStream(asked, None)
        self.begun.append(begun)
        return begun


class _OnStream:
    def __init__(self, asked: Asked, id: Any) -> None:
        self.asked = asked
        self.id = id
        self.raw = b""
        self.events: list[sse.Event] = []
        self._commented = asyncio.Event()
        self._heard = _Heard()
        self._taken: set[int] = set()
        self._reading = asyncio.create_task(self._read())

    @property
    def heard(self) -> list[Json]:
        return self._heard.messages

    @property
    def status(self) -> int:
        return self.asked.status

    async def _read(self) -> None:
        await self.asked.begun()
        if self.asked.headers.get("content-type") != "text/event-stream":
            self.raw = await self.asked.whole()
            if self.raw:
                self._heard.put(json.loads(self.raw))
            return
        reader = sse.Reader()
        # Streams may stay silent for as long as they like: only who waits for one loses patience.
        while piece := await self.asked._outgoing.get():  # pyright: ignore[reportPrivateUsage]
            self.raw += piece
            if piece.startswith(b":"):
                self._commented.set()
            for event in reader.feed(piece):
                self.events.append(event)
                if event.data:
                    self._heard.put(json.loads(event.data))

    async def until(self, wanted: Wanted) -> Json:
        index = 0
        while index in self._taken or not wanted(await self._heard.at(index)):
            index += 1
        self._taken.add(index)
        return self.heard[index]

    async def answer(self) -> Answer:
        message = await self.until(lambda message: "method" not in message)
        before = self.heard[: self.heard.index(message)]
        return Answer(message, before, self.asked.status, self.asked.headers)

    async def whole(self) -> bytes:
        await soon(asyncio.wait([self._reading]))
        assert self.asked.finished
        return self.raw

    async def comment(self) -> None:
        await soon(self._commented.wait())
        self._commented.clear()

    async def cancel(self) -> None:
        self.asked.leave()

    async def end(self) -> None:
        self.asked.leave()
        self._reading.cancel()
        self.asked.task.cancel()
        await asyncio.wait([self._reading, self.asked.task])


@asynccontextmanager
async def _over_http(
    app: App, revision: str, capabilities: Json, *, greet: bool, own: bool = True
) -> AsyncGenerator[Peer]:
    peer = _Posts(revision, capabilities, app)
    try:
        if greet and revision != MODERN:
            await peer.greet()
        yield peer
    finally:
        for begun in peer.begun:
            await begun.end()
        if own:
            await app.stop()


def _answers(message: Json, id: Any) -> bool:
    if "method" in message:
        return False
    return message.get("id") == id and type(message.get("id")) is type(id)


def _id_of(data: bytes) -> Any:
    try:
        return json.loads(data).get("id")
    except (ValueError, AttributeError, RecursionError):
        return None
