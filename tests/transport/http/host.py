"""An ASGI host in this process: requests whose responses are read piece by piece, and an engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from tests.peers import MODERN, soon

from interlock.errors import ConnectionLost
from interlock.transport.http.engine import Request
from interlock.wire import sse

Event: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[..., Awaitable[None]]

BOTH = "application/json, text/event-stream"


class Asked:
    """One request that an app is answering."""

    def __init__(self, app: App, scope: dict[str, Any], pieces: Sequence[bytes]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.finished = False
        self.broken = False
        """Set it, and sending fails, as servers may tell an app that its client is gone."""
        self._incoming: asyncio.Queue[Event] = asyncio.Queue()
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._started = asyncio.Event()
        self._events: list[sse.Event] = []
        self._reader = sse.Reader()
        for index, piece in enumerate(pieces):
            more = index < len(pieces) - 1
            self._incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: App, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._incoming.get, self._send)
        finally:
            self._started.set()
            self._outgoing.put_nowait(None)

    async def _send(self, event: Event) -> None:
        if self.broken:
            raise BrokenPipeError
        if event["type"] == "http.response.start":
            assert not self._started.is_set(), "a response was started twice"
            self.status = event["status"]
            for name, value in event["headers"]:
                key = name.decode()
                assert key == key.lower()
                assert key not in self.headers, f"the header {key} was sent twice"
                self.headers[key] = value.decode("latin-1")
            self._started.set()
            return
        assert self._started.is_set(), "a body came before its headers"
        assert not self.finished, "a body went on after its end"
        if event.get("body"):
            self._outgoing.put_nowait(event["body"])
        if not event.get("more_body"):
            # Its client sees the end, though the app may have more to do.
            self.finished = True
            self._outgoing.put_nowait(None)

    async def begun(self) -> Asked:
        """Wait for status and headers."""
        await soon(self._started.wait())
        return self

    async def piece(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        return await soon(self._outgoing.get()) or b""

    async def event(self) -> sse.Event:
        """The next event of a stream that has data."""
        while not (event := await self.any_event()).data:
            pass
        return event

    async def any_event(self) -> sse.Event:
        """The next event of a stream, though it may only tell how to come back to it."""
        while not self._events:
            piece = await self.piece()
            assert piece, "the stream ended"
            self._events = self._reader.feed(piece)
        return self._events.pop(0)

    async def message(self) -> Any:
        """The next message on a stream."""
        return json.loads((await self.event()).data)

    async def whole(self) -> bytes:
        """The body to its end, which must come."""
        pieces: list[bytes] = []
        while piece := await self.piece():
            pieces.append(piece)
        await soon(self.task)
        return b"".join(pieces)

    async def json(self) -> Any:
        """The whole body as JSON, checked against what its headers say of it."""
        body = await self.whole()
        assert self.headers["content-type"] == "application/json"
        assert int(self.headers["content-length"]) == len(body)
        return json.loads(body)

    def leave(self) -> None:
        """Close the connection, as a client that goes away."""
        self._incoming.put_nowait({"type": "http.disconnect"})


class Host:
    """Asks an app as an HTTP server would."""

    def __init__(self, app: App, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    def open(
        self,
        method: str,
        body: bytes | Sequence[bytes] = b"",
        headers: Mapping[str, str | None] | None = None,
        path: str = "/mcp",
    ) -> Asked:
        """Begin a request; None takes one of the usual headers away."""
        pieces = [body] if isinstance(body, bytes) else body
        sent: dict[str, str | None] = {"host": "127.0.0.1:4777", "accept": BOTH}
        if method == "POST":
            sent["content-type"] = "application/json"
            if isinstance(body, bytes):
                sent["content-length"] = str(len(body))
        sent |= headers or {}
        path, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": self.root_path,
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in sent.items()
                if value is not None
            ],
        }
        return Asked(self.app, scope, pieces)

    def post(
        self, body: bytes | Sequence[bytes], headers: Mapping[str, str | None] | None = None
    ) -> Asked:
        return self.open("POST", body, headers)

    def modern(self, body: bytes, **headers: str | None) -> Asked:
        """POST a modern message with the headers that mirror it."""
        return self.open("POST", body, {**mirrored(body), **_dashed(headers)})

    def legacy(self, session: str, body: bytes, **headers: str | None) -> Asked:
        return self.open("POST", body, {"mcp-session-id": session, **_dashed(headers)})

    async def greet(self, hello: bytes) -> str:
        """Shake hands as a legacy client; the session's id."""
        asked = self.post(hello)
        assert "result" in await asked.json()
        session = asked.headers["mcp-session-id"]
        told = self.legacy(session, b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        await told.whole()
        assert told.status == 202
        return session


def mirrored(body: bytes) -> dict[str, str | None]:
    """The headers that mirror a modern message."""
    message = json.loads(body)
    params = message["params"]
    headers: dict[str, str | None] = {
        "mcp-protocol-version": MODERN,
        "mcp-method": message["method"],
    }
    name = params.get(_MIRRORED.get(message["method"], ""))
    if isinstance(name, str):
        headers["mcp-name"] = name
    return headers


_MIRRORED = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId"),
}
"""Which member of its params a method repeats in `Mcp-Name`."""


def _dashed(headers: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class HostResponse:
    """What an `Engine` gives, from an app in this process."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.status = asked.status
        self.headers: Mapping[str, str] = asked.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        while piece := await self._asked._outgoing.get():  # pyright: ignore[reportPrivateUsage]
            yield piece
        if not self._asked.finished:
            raise ConnectionLost("the stream broke off")

    async def read(self, limit: int) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    def close(self) -> None:
        self._asked.leave()


class Requests(list[Request]):
    """The requests that an engine sent, and a way to wait for more."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = asyncio.Event()

    def append(self, request: Request) -> None:
        super().append(request)
        self._arrived.set()

    async def number(self, count: int) -> None:
        """Wait until there are at least *count*."""
        while len(self) < count:
            self._arrived.clear()
            await soon(self._arrived.wait())


class HostEngine:
    """An `Engine` that needs no socket."""

    def __init__(self, app: App) -> None:
        self.host = Host(app)
        self.requests = Requests()
        self.closed = False

    async def send(self, request: Request) -> HostResponse:
        self.requests.append(request)
        url = urlsplit(request.url)
        headers: dict[str, str | None] = {"accept": None, "content-type": None, **request.headers}
        path = f"{url.path}?{url.query}"
        asked = self.host.open(request.method, request.body or b"", headers, path)
        try:
            await asked._started.wait()  # pyright: ignore[reportPrivateUsage]
        except asyncio.CancelledError:
            asked.leave()
            raise
        return HostResponse(asked)

    async def close(self) -> None:
        self.closed = True
