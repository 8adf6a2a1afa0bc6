"""The 2024 transport, a server's side: messages go out on one event stream, and come as POSTs.

The stream's first event says where to POST to (2024-11-05 § Transports, HTTP with SSE). Deprecated
since 2025-03-26 and kept for as long as such clients live; the messages are those of a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from typing import Final
from urllib.parse import parse_qs

from interlock.errors import ConnectionLost
from interlock.protocol.call import LOCAL, Principal, Service
from interlock.protocol.gate import Gate
from interlock.transport.channel import HIGH_WATER
from interlock.transport.duplex import serve
from interlock.transport.http.bodies import take
from interlock.transport.http.expiry import at_expiry
from interlock.transport.http.guards import Head
from interlock.transport.http.plain import (
    Header,
    Receive,
    Scope,
    Send,
    address,
    bare,
    cors,
    deny,
    left,
    preflight,
    refuse,
)
from interlock.transport.http.reply import ALIVE, KEEP_ALIVE, STREAM_HEADERS
from interlock.transport.queued import QueuedChannel
from interlock.wire import sse

STREAMS: Final = 1000
"""How many streams are open at once; more are refused."""

_METHODS: Final = b"GET, POST"
_ALLOW: Final[list[Header]] = [(b"allow", _METHODS + b", OPTIONS")]
_NAME: Final = "session_id"
_NONE: Final[frozenset[str]] = frozenset()


class SseEndpoint:
    """Serves *service* at *path*: GET opens a stream, and POST carries what its client says.

    The path of a stream's POSTs is the same, with a name that nobody can guess. Who may come here at
    all is decided before; what a stream is for only its own principal may say, and not with less
    scope than it was opened with, as what is said is done with that. *body_limit* is for one message.
    """

    def __init__(
        self,
        service: Service,
        path: str,
        body_limit: int,
        keep_alive: float = KEEP_ALIVE,
        gate: Gate | None = None,
    ) -> None:
        self.path = path.rstrip("/")
        self._gate = gate
        self._service = service
        self._body_limit = body_limit
        self._keep_alive = keep_alive
        self._lines: dict[str, _Line] = {}
        self._channels: set[QueuedChannel] = set()
        self._closings = 0

    def __len__(self) -> int:
        return len(self._lines)

    async def serve(
        self,
        scope: Scope,
        head: Head,
        receive: Receive,
        send: Send,
        principal: Principal = LOCAL,
    ) -> None:
        """Answer one request of *principal*'s."""
        match scope["method"]:
            case "GET":
                await self._stream(scope, head, receive, send, principal)
            case "POST":
                await self._take(scope, head, receive, send, principal)
            case "OPTIONS":
                await bare(send, 204, preflight(head, _METHODS))
            case method:
                why = f"{method} is not served here; open a stream with GET"
                await refuse(send, 405, why, [*_ALLOW, *cors(head)])

    def close(self) -> None:
        """End every stream: what runs gets a moment to finish, and its answer is still sent."""
        self._closings += 1
        for channel in self._channels:
            channel.hang_up()

    async def _stream(
        self, scope: Scope, head: Head, receive: Receive, send: Send, principal: Principal
    ) -> None:
        if not head.takes_stream:
            why = "GET opens a stream: Accept must allow text/event-stream"
            await refuse(send, 406, why, cors(head))
            return
        if len(self._lines) >= STREAMS:
            await refuse(send, 503, f"More than {STREAMS} streams at once; try later", cors(head))
            return
        name = os.urandom(24).hex()
        line = self._lines[name] = _Line(send, principal)
        closings = self._closings
        try:
            await line.open([*STREAM_HEADERS, *cors(head)], f"{address(scope)}?{_NAME}={name}")
            if closings == self._closings:
                await self._serve(line, receive, name)
            else:
                await line.end()  # All were ended while this one opened.
        except ConnectionLost:
            pass  # It left before it had heard where to POST to.
        finally:
            del self._lines[name]

    async def _serve(self, line: _Line, receive: Receive, name: str) -> None:
        channel = QueuedChannel(line, "the client")
        self._channels.add(channel)
        expiry = at_expiry(line.owner, channel.hang_up)
        # A task of its own, so that a client that leaves ends its calls at once: nothing can be
        # answered any more, and there is no coming back to a stream of this transport.
        serving = asyncio.create_task(
            serve(self._service, channel, name=name, principal=line.owner)
        )
        beside = [
            asyncio.create_task(left(receive, line.hang_up, serving.cancel)),
            asyncio.create_task(line.breathe(self._keep_alive)),
        ]
        try:
            await asyncio.wait([serving])
        finally:
            self._channels.discard(channel)
            if expiry is not None:
                expiry.cancel()
            for task in beside:
                task.cancel()
            serving.cancel()
            await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()

    async def _take(
        self, scope: Scope, head: Head, receive: Receive, send: Send, principal: Principal
    ) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        names = query.get(_NAME, [])
        if not names:
            # What a newer client tries first, to find out that it has to GET. Without a body, in
            # which some look for a reason not to.
            await bare(send, 405, [*_ALLOW, *cors(head)])
            return
        body = await take(head, receive, send, self._body_limit, cors(head))
        if body is None:
            return
        line = self._lines.get(names[0])
        if line is None or line.over or line.owner != principal:
            # Whoever has only its name is told no more than whoever guesses (Session Hijacking).
            await refuse(send, 404, "No such stream: it ended or never was", cors(head))
        elif self._gate is not None and principal.lacks(allowed := line.owner.scopes or _NONE):
            await deny(send, self._gate.short(principal, allowed), cors(head))
        elif not line.take(body):
            why = "Too much waits already; read the answers on the stream first"
            await refuse(send, 429, why, cors(head))
        else:
            await bare(send, 202, cors(head))


class _Line:
    """What a client POSTs one way, its stream the other."""

    def __init__(self, send: Send, owner: Principal) -> None:
        self.owner = owner
        self.over = False
        self._send = send
        self._came: deque[bytes] = deque()
        self._size = 0
        self._arrived = asyncio.Event()

    async def open(self, headers: list[Header], endpoint: str) -> None:
        await self._put({"type": "http.response.start", "status": 200, "headers": headers})
        await self._say(sse.event(endpoint.encode(), name="endpoint"))

    def take(self, message: bytes) -> bool:
        """Keep a message until it is read; whether there was room for it."""
        if self._size > HIGH_WATER:
            return False
        self._came.append(message)
        self._size += len(message)
        self._arrived.set()
        return True

    def hang_up(self) -> None:
        """The client has closed its stream."""
        self.over = True
        self._arrived.set()

    async def breathe(self, seconds: float) -> None:
        """Say again and again that the stream lives."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._say(ALIVE)
            except ConnectionLost:
                self.hang_up()
                return

    async def read(self) -> bytes | None:
        while not self._came:
            if self.over:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        message = self._came.popleft()
        self._size -= len(message)
        return message

    async def write(self, message: bytes) -> None:
        await self._say(sse.event(message, name="message"))

    async def end(self) -> None:
        if not self.over:
            self.over = True
            with contextlib.suppress(OSError):  # It went first.
                await self._send({"type": "http.response.body", "body": b""})

    async def _say(self, event: bytes) -> None:
        await self._put({"type": "http.response.body", "body": event, "more_body": True})

    async def _put(self, event: Scope) -> None:
        if self.over:
            raise ConnectionLost("the client has closed its stream")
        try:
            await self._send(event)
        except OSError as error:
            raise ConnectionLost(f"the client is gone: {error}") from error
