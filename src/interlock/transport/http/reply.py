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
_TYPE: Final[Header] = (b"content-type", b"application/json")
_ALIVE: Final = sse.comment("alive")


class Reply:
    """The response to one POST, and the outlet of its call."""

    def __init__(
        self,
        send: Send,
        headers: list[Header],
        *,
        streams: bool,
        json: bool = True,
        session: HttpSession | None = None,
    ) -> None:
        self.dead = False
        self._send = send
        self._headers = headers
        self._streams = streams
        self._json = json
        self._session = session
        self._started = False
        self._done = False
        self._events: list[bytes] = []
        self._size = 0
        self._flushing: asyncio.Task[None] | None = None
        self._alive: asyncio.TimerHandle | None = None

    # As an outlet.

    def notify(self, method: str, params: Wire | Raw) -> None:
        if self._streams and not self._done and self._size <= HIGH_WATER:
            data = params if isinstance(params, Raw) else encode(params)
            self._put(sse.event(notification(method, data)))

    async def drain(self) -> None:
        while self._flushing is not None and not self.dead:
            await asyncio.shield(self._flushing)

    async def ask(self, method: str, params: Wire | Raw) -> Raw:
        session = self._session
        if session is None or not self._streams:
            raise RpcError(METHOD_NOT_FOUND, f"This client takes no stream to ask {method} on")
        if self.dead:
            raise ConnectionLost(f"The client left before {method} could be asked")
        id = session.next_id()
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        session.asked[id] = future
        try:
            data = params if isinstance(params, Raw) else encode(params)
            self._put(sse.event(request(id, method, data)))
            message = await future
        finally:
            session.asked.pop(id, None)
        return Raw(outcome(message, method, modern=False).body)

    # As a response.

    def waits(self) -> None:
        """The handler really waits: from now on silence has to be filled."""
        if self._streams:
            loop = asyncio.get_running_loop()
            self._alive = loop.call_later(KEEP_ALIVE, self._keep_alive)

    async def finish(self, body: bytes, status: int = 200) -> None:
        """Send the answer: as the last event of a stream that was begun, else alone."""
        self._stop()
        if not self._started and not self._events:
            if self._json:
                await self._send(
                    {
                        "type": "http.response.start",
                        "status": status,
                        "headers": [
                            _TYPE,
                            (b"content-length", b"%d" % len(body)),
                            *self._headers,
                        ],
                    }
                )
                await self._send({"type": "http.response.body", "body": body})
                return
        await self._end(sse.event(body))

    async def abandon(self) -> None:
        """End without an answer: the call was cancelled by whoever made it."""
        self._stop()
        if self._started or self._events:
            await self._end(b"")
        else:
            await self._send(
                {"type": "http.response.start", "status": 202, "headers": self._headers}
            )
            await self._send({"type": "http.response.body", "body": b""})

    def _put(self, event: bytes) -> None:
        self._events.append(event)
        self._size += len(event)
        if self._flushing is None and not self.dead:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            if not self._started:
                await self._start()
            while self._events:
                chunk = b"".join(self._events)
                self._events.clear()
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._size = 0
        except OSError:
            self.dead = True  # The client is gone; who watches for that ends the call.
        finally:
            self._flushing = None

    async def _start(self) -> None:
        self._started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*STREAM_HEADERS, *self._headers],
            }
        )

    async def _end(self, last: bytes) -> None:
        if self._flushing is not None:
            await self._flushing
        if not self._started:
            await self._start()
        self._events.append(last)
        chunk = b"".join(self._events)
        self._events.clear()
        await self._send({"type": "http.response.body", "body": chunk})

    def _keep_alive(self) -> None:
        if not self._done and not self.dead:
            if not self._events:
                self._put(_ALIVE)
            self.waits()

    def _stop(self) -> None:
        self._done = True
        if self._alive is not None:
            self._alive.cancel()
            self._alive = None
