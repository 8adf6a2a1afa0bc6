"""One response: JSON if the answer comes first, SSE if anything else does.

The choice is made when the first byte must go out, so that an error that comes first still gets
its HTTP status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from msgspec import Raw

from interlock.errors import METHOD_NOT_FOUND, ConnectionLost, RpcError
from interlock.protocol.outgoing import outcome
from interlock.transport.channel import HIGH_WATER
from interlock.transport.http.sessions import HttpSession
from interlock.wire import sse
from interlock.wire.jsonrpc import Message, encode, notification, request
from interlock.wire.meta import Wire

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which a stream says that it lives; proxies cut silent ones."""

STREAM_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
ALIVE: Final = sse.comment("alive")
_JSON: Final[Header] = (b"content-type", b"application/json")


class Reply:
    """The response to one POST, and the outlet of its call.

    *streams* and *json* say what the client takes; *session* is where its answers to our questions
    arrive, None for a client that cannot be asked.
    """

    def __init__(
        self,
        send: Send,
        headers: list[Header],
        *,
        streams: bool = True,
        json: bool = True,
        session: HttpSession | None = None,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self.dead = False
        """The client has left: nothing reaches it any more."""
        self._send = send
        self._headers = headers
        self._streams = streams
        self._json = json
        self._session = session
        self._keep_alive = keep_alive
        self._started = False
        self._done = False
        self._events: list[bytes] = []
        self._size = 0
        self._flushing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked: set[asyncio.Future[Message]] = set()

    # As an outlet.

    def notify(self, method: str, params: Wire | Raw) -> None:
        if self._streams and not self._done and self._size <= HIGH_WATER:
            data = params if isinstance(params, Raw) else encode(params)
            self._put(sse.event(notification(method, data)))

    async def drain(self) -> None:
        if self._flushing is not None:
            await asyncio.shield(self._flushing)

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        session = self._session
        if session is None or not self._streams:
            raise RpcError(METHOD_NOT_FOUND, f"This client takes no stream to ask {method} on")
        if self.dead or self._done:
            raise ConnectionLost(f"{method} came after the client had left or was answered")
        name = session.next_id()
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        session.asked[name] = future
        self._asked.add(future)
        try:
            data = params if isinstance(params, Raw) else encode(params)
            self._put(sse.event(request(name, method, data)))
            message = await future
        finally:
            self._asked.discard(future)
            del session.asked[name]
        return Raw(outcome(message, method, modern=False).body)

    def close_stream(self, retry: float) -> None:
        pass

    # As a response.

    def fill_silence(self) -> None:
        """The handler really waits: from now on silence is filled."""
        if self._streams:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._keep_alive, self._say_alive)

    def hang_up(self) -> None:
        """The client has left: say nothing more to it, and wait for no answer from it."""
        self.dead = True
        for future in self._asked:
            if not future.done():
                future.set_exception(ConnectionLost("the client left before it answered"))

    async def finish(self, body: bytes, status: int = 200) -> None:
        """Send the answer: as the last event of a stream that was begun, else alone."""
        self._end()
        streamed = self._started or self._events or (not self._json and status == 200)
        if streamed:
            await self._end_stream(sse.event(body))
        else:
            await self._whole(
                status, [_JSON, (b"content-length", b"%d" % len(body)), *self._headers], body
            )

    async def abandon(self) -> None:
        """End without an answer: the call was cancelled by whoever made it."""
        self._end()
        if self._started or self._events:
            await self._end_stream(b"")
        else:
            await self._whole(202, self._headers, b"")

    def release(self) -> None:
        """Let go of what is still set to happen. Safe to call at any time, also twice."""
        self._end()
        if self._flushing is not None:
            self._flushing.cancel()

    async def _whole(self, status: int, headers: list[Header], body: bytes) -> None:
        if self.dead:
            return
        try:
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})
        except OSError:
            self.hang_up()

    async def _end_stream(self, last: bytes) -> None:
        if self._flushing is not None:
            await self._flushing
        await self._start()
        chunk = b"".join([*self._events, last])
        self._events.clear()
        await self._write(chunk, more=False)

    def _put(self, event: bytes) -> None:
        self._events.append(event)
        self._size += len(event)
        if self._flushing is None:
            # A task of its own, because whoever notifies does not wait.
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            await self._start()
            while self._events:
                chunk = b"".join(self._events)
                self._events.clear()
                await self._write(chunk, more=True)
                self._size -= len(chunk)
        finally:
            self._flushing = None

    async def _start(self) -> None:
        if self._started or self.dead:
            return
        self._started = True
        headers = [*STREAM_HEADERS, *self._headers]
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        except OSError:
            self.hang_up()

    async def _write(self, chunk: bytes, *, more: bool) -> None:
        if self.dead:
            return
        try:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        except OSError:
            self.hang_up()

    def _say_alive(self) -> None:
        if not self.dead:
            if not self._events:
                self._put(ALIVE)
            self.fill_silence()

    def _end(self) -> None:
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
