"""One response: JSON if the answer comes first, SSE if anything else does.

The choice is made when the first byte must go out, so that an error that comes first still gets
its HTTP status.
"""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Raw

from interlock.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    ConnectionLost,
    InvalidMessage,
    RpcError,
)
from interlock.protocol.outgoing import outcome
from interlock.protocol.session import State
from interlock.transport.channel import HIGH_WATER
from interlock.transport.http.hardening import UNKEPT
from interlock.transport.http.plain import ANSWER, Header, Way
from interlock.transport.http.sessions import HttpSession
from interlock.transport.http.streams import Reader, Stream
from interlock.wire import sse
from interlock.wire.jsonrpc import Message, encode, notification, request
from interlock.wire.meta import Wire
from interlock.wire.notices import CANCELLED, CancelledNotice

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which a stream says that it lives; proxies cut silent ones."""

STREAM_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
HERE: Final = sse.comment()
ALIVE: Final = sse.comment("alive")


class Reply:
    """The response to one POST, and the outlet of its call.

    *streams* and *json* say what the client takes; *session* is where its answers to our questions
    arrive, None for a client that cannot be asked. In a session what is streamed has ids, and goes
    on being kept when the client leaves, for when it comes back (2025-11-25 § Transports,
    Resumability); a stream without a session is lost with its connection.
    """

    __slots__ = (
        "_asked",
        "_closing",
        "_done",
        "_events",
        "_flushing",
        "_headers",
        "_json",
        "_keep_alive",
        "_reader",
        "_session",
        "_size",
        "_started",
        "_stream",
        "_streams",
        "_timer",
        "_way",
        "dead",
    )

    def __init__(
        self,
        way: Way,
        headers: list[Header],
        streams: bool = True,
        json: bool = True,
        session: HttpSession | None = None,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self.dead = False
        """Nothing more goes out on this connection: the client left it, or we closed it."""
        self._way = way
        self._headers = headers
        self._streams = streams
        self._json = json
        self._session = session
        self._keep_alive = keep_alive
        self._started = False
        self._done = False
        self._closing = False
        self._events: list[bytes] = []
        self._size = 0
        self._stream: Stream | None = None
        self._reader: Reader | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked: tuple[tuple[str, asyncio.Future[Message]], ...] = ()

    # As an outlet.

    def notify(self, method: str, params: Wire | Raw) -> None:
        if not self._streams or self._done or self._size > HIGH_WATER:
            return
        if self._stream is not None and self._stream.full:
            return
        data = params if isinstance(params, Raw) else encode(params)
        self._put(notification(method, data))

    async def drain(self) -> None:
        if self._flushing is not None:
            await asyncio.shield(self._flushing)

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        session = self._session
        if session is None or not self._streams:
            raise RpcError(METHOD_NOT_FOUND, f"This client takes no stream to ask {method} on")
        if self._done or self._is_lost():
            raise ConnectionLost(f"{method} came after the client had left or was answered")
        name = session.next_id()
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        session.asked[name] = future
        self._asked = (*self._asked, (name, future))
        try:
            data = params if isinstance(params, Raw) else encode(params)
            self._put(request(name, method, data))
            message = await future
        except asyncio.CancelledError:
            # Unless the call was over first, which told the client already.
            if future.cancelled() and (name, future) in self._asked:
                self._withdraw(name, "cancelled")
            raise
        finally:
            self._asked = tuple(other for other in self._asked if other[0] != name)
            del session.asked[name]
        try:
            return Raw(outcome(message, method, modern=False).body)
        except InvalidMessage as error:
            # For a handler it is what an error would have been: the question has no answer.
            raise RpcError(INVALID_PARAMS, str(error)) from None

    def close_stream(self, retry: float) -> None:
        session = self._session
        if session is None or not session.primes or not self._streams or self.dead or self._done:
            return
        self._put(b"", retry=max(0, round(retry * 1000)))
        self._closing = True

    # As a response.

    def fill_silence(self) -> None:
        """A handler really waits: from now on silence is filled."""
        if self._streams and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._keep_alive, self._say_alive)

    def hang_up(self) -> None:
        """The connection is gone: say nothing more on it.

        What was asked is still answered by a client that comes back in time.
        """
        self.dead = True
        self._events.clear()
        self._size = 0
        if self._reader is not None:
            self._reader.lose()
        if self._is_lost():
            self._give_up()

    async def finish(
        self, body: bytes, status: int = 200, headers: tuple[Header, ...] = ()
    ) -> None:
        """Send the answer: as the last event of a stream that was begun, else alone, and then with
        its *status* and *headers*.
        """
        if (
            self._started
            or self._events
            or self._stream is not None
            or status != 200
            or headers
            or not self._json
        ):
            await self.finish_all([body], body, status, headers)
            return
        self._end()
        if not self.dead:
            try:
                await self._way.answer(self._headers, body)
            except OSError:
                self.hang_up()

    async def finish_all(
        self,
        bodies: list[bytes],
        alone: bytes,
        status: int = 200,
        headers: tuple[Header, ...] = (),
    ) -> None:
        """Send several answers: as the last events of a stream, else as *alone* says them all."""
        self._end()
        begun = self._started or self._events or self._stream is not None
        if begun or (not self._json and status == 200):
            for body in bodies:
                self._put(body)
            await self._end_stream()
        elif not self.dead:
            await self._whole(status, [*ANSWER, *self._headers, *headers], alone)

    async def abandon(self) -> None:
        """End without an answer: the call was cancelled by whoever made it."""
        self._end()
        if self._started or self._events or self._stream is not None:
            await self._end_stream()
        elif not self.dead:
            await self._whole(202, [UNKEPT, *self._headers], b"")

    def release(self) -> None:
        """Let go of what is still set to happen. Safe to call at any time, also twice."""
        self._end()
        if self._flushing is not None:
            self._flushing.cancel()
        if self._stream is not None:
            self._stream.end()
        if self._reader is not None:
            self._reader.leave()

    async def _whole(self, status: int, headers: list[Header], body: bytes) -> None:
        try:
            await self._way.whole(status, headers, body)
        except OSError:
            self.hang_up()

    async def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.end()
        if self._flushing is not None:
            await self._flushing
        if not self.dead:
            await self._start()
            await self._write(self._pull(), more=False)

    def _put(self, data: bytes, retry: int | None = None) -> None:
        """One more event; an empty one only tells how to come back."""
        stream = self._stream
        if stream is None:
            if self.dead:
                return  # A client that never saw an id of this stream cannot come back to it.
            if self._session is None:
                self._queue(sse.event(data))
                return
            stream = self._begin(self._session)
        stream.add(data, retry)

    def _begin(self, session: HttpSession) -> Stream:
        stream = self._stream = session.streams.open()
        stream.on_forsaken = self._give_up
        self._reader = stream.read(0, self._soon)
        if session.primes:
            stream.add(b"")
        return stream

    def _queue(self, event: bytes) -> None:
        self._events.append(event)
        self._size += len(event)
        self._soon()

    def _pull(self) -> bytes:
        chunk = b"".join(self._events)
        self._events.clear()
        self._size = 0
        return chunk + self._reader.pull() if self._reader is not None else chunk

    def _soon(self) -> None:
        if self._flushing is None and not (self._done or self.dead):
            # A task of its own, because whoever notifies does not wait.
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            await self._start()
            while chunk := self._pull():
                await self._write(chunk, more=True)
            if self._closing or (self._reader is not None and self._reader.replaced):
                await self._write(b"", more=False)
                self.hang_up()
        finally:
            self._flushing = None

    async def _start(self) -> None:
        if self._started or self.dead:
            return
        self._started = True
        headers = [*STREAM_HEADERS, *self._headers]
        try:
            await self._way.send({"type": "http.response.start", "status": 200, "headers": headers})
        except OSError:
            self.hang_up()

    async def _write(self, chunk: bytes, *, more: bool) -> None:
        if self.dead:
            return
        try:
            await self._way.send({"type": "http.response.body", "body": chunk, "more_body": more})
        except OSError:
            self.hang_up()

    def _say_alive(self) -> None:
        self._timer = None
        if self.dead:
            return
        session = self._session
        if session is not None and session.primes and self._stream is None:
            self._begin(session)
        elif not self._events:
            self._queue(ALIVE)
        self.fill_silence()

    def _is_lost(self) -> bool:
        """The client has left, and cannot come back."""
        stream = self._stream
        return self.dead and (stream is None or stream.ended or stream.forsaken)

    def _give_up(self, why: str = "the client left before it answered") -> None:
        asked, self._asked = self._asked, ()
        for name, future in asked:
            if not future.done():
                future.set_exception(ConnectionLost(why))
            elif not future.cancelled():
                continue
            self._withdraw(name, why)

    def _withdraw(self, question: str, why: str) -> None:
        """Tell a client whose session goes on that nobody waits for its answer any more."""
        session = self._session
        if session is not None and session.session.state is not State.CLOSED:
            notice = CancelledNotice(request_id=question, reason=why)
            self._put(notification(CANCELLED, encode(notice)))

    def _end(self) -> None:
        self._done = True
        if self._asked:
            # By a task that the handler left behind: a question belongs to a call that runs.
            self._give_up("the call was over before it was answered")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
